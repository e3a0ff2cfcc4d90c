"""Where a compressed network loses most, as it noted while it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Losses:
    """Where a variant loses most.

    Attributes
    ----------
    worst_layers : dict of str to float
        Up to three layers that add most noise, with the signal-to-noise ratio behind them in dB.
    expected_points : float or None
        Points of top-1 accuracy that were expected to be lost, from calibration samples without
        labels.
    advice : str
        What would help.
    measured_on : {"samples", "weights"}
        Whether the ratios are those of the layers' outputs on calibration samples, or, where there
        were none, of their weights alone.
    """

    worst_layers: Mapping[str, float] = field(default_factory=dict)
    expected_points: float | None = None
    advice: str = ""
    measured_on: str = "samples"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return {
            "worst_layers": dict(self.worst_layers),
            "expected_points": self.expected_points,
            "advice": self.advice,
            "measured_on": self.measured_on,
        }


def losses_of(model: Any) -> Losses | None:
    """Return what a compressed model noted, None where it noted nothing.

    Parameters
    ----------
    model : CompressedModel, Graph or Session
        Provenance may come from a file, where anything may stand.

    Returns
    -------
    Losses or None
    """
    provenance = getattr(model, "provenance", None)
    noted = provenance.get("agreement") if isinstance(provenance, dict) else None
    layers = noted.get("worst_layers") if isinstance(noted, dict) else None
    if not isinstance(noted, dict) or not isinstance(layers, dict):
        return None
    worst = {str(name): float(db) for name, db in layers.items() if _is_finite(db)}
    if not worst:
        return None
    points, advice = noted.get("expected_loss"), noted.get("advice")
    return Losses(
        worst,
        float(points) if points is not None and _is_finite(points) else None,
        advice if isinstance(advice, str) else "",
        "weights" if noted.get("measured_on") == "weights" else "samples",
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["Losses", "losses_of"]
