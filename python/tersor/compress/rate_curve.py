"""Size against accuracy of a network, by the bits that its weights take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.preprocess import Preprocess
from ..graph import Graph
from .calibrate import Progress
from .evaluation import accuracy_of, check_evaluate
from .model import CompressedModel
from .pipeline import apply_recipe
from .progress import reporter
from .recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table

BITS = (1.5, 2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True)
class RatePoint:
    """One network of a curve.

    Attributes
    ----------
    bits_per_weight : float
        That were asked for.
    code_bytes : int
        What an adaptive coder spends on the codes of the weights.
    nbytes : int
        Of the saved file.
    accuracy : float or None
        As `evaluate` says; None without.
    expected_loss : float or None
        Of top-1, in points, by the agreement with the float network on calibration samples.
    """

    bits_per_weight: float
    code_bytes: int
    nbytes: int
    accuracy: float | None
    expected_loss: float | None


@dataclass(frozen=True)
class RateCurve:
    """Networks of one recipe at several sizes: what `rate_curve` returns.

    Attributes
    ----------
    points : tuple of RatePoint
    models : tuple of CompressedModel
        One each.
    accuracy : float or None
        Of the network as it was.
    """

    points: tuple[RatePoint, ...]
    models: tuple[CompressedModel, ...]
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"accuracy": self.accuracy, "points": [asdict(p) for p in self.points]}

    def table(self) -> Table:
        """Return the points as a table for terminals."""
        from rich.table import Table

        table = Table(title="size against accuracy", title_justify="left")
        for head in ("bits a weight", "code bytes", "file bytes", "accuracy", "expected loss"):
            table.add_column(head, justify="right")
        for p in self.points:
            table.add_row(
                f"{p.bits_per_weight:.2f}",
                f"{p.code_bytes:,}",
                f"{p.nbytes:,}",
                "" if p.accuracy is None else f"{p.accuracy:.4f}",
                "" if p.expected_loss is None else f"{p.expected_loss:.2f}",
            )
        if self.accuracy is not None:
            table.caption = f"before: {self.accuracy:.4f}"
        return table


def rate_curve(
    graph: Graph,
    calibration: Any,
    *,
    bits_per_weight: Sequence[float] = BITS,
    recipe: Recipe | Mapping[str, Any] | str | Path = "rate-distortion",
    evaluate: Dataset | tuple[NDArray[Any], NDArray[Any]] | Callable[[Any], float] | None = None,
    preprocess: Preprocess | Mapping[str, Any] | str | Path | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> RateCurve:
    """Compress a network to several sizes, without training.

    What the bits of each layer are worth is measured once; each point then rounds the network at
    its price of a bit.

    Parameters
    ----------
    graph : Graph
        Float. Not changed.
    calibration : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples, about 512.
    bits_per_weight : sequence of float
        That an entropy coder spends on a weight on average, one for each point.
    recipe : str, mapping, Path or Recipe, default "rate-distortion"
        With rate-distortion layers; its own bits and price do not count.
    evaluate : (x, y), Dataset or callable, optional
        As for :func:`tersor.compress`.
    preprocess : Preprocess, mapping or path, optional
        As for :func:`tersor.compress`.
    seed : int, default 0
        Draws the samples.
    progress : bool or callable, default False

    Returns
    -------
    RateCurve

    Raises
    ------
    ValueError
        If the recipe has no rate-distortion layers, or no bits are asked for.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 16))
    >>> rng = np.random.default_rng(0)
    >>> w = graph.add_constant("w", rng.normal(size=(64, 16)).astype(np.float32))
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "dense")])
    >>> samples = rng.normal(size=(256, 16)).astype(np.float32)
    >>> curve = tersor.compress.rate_curve(graph, samples, bits_per_weight=[2, 4])
    >>> curve.points[0].code_bytes < curve.points[1].code_bytes
    True
    """
    chosen = Recipe.parse(recipe)
    if not chosen.is_rated:
        raise ValueError(
            f"rate_curve: recipe must have rate-distortion layers, got {chosen.name!r}"
        )
    if not bits_per_weight:
        raise ValueError("rate_curve: bits_per_weight must name at least one point, got none")
    if not hasattr(calibration, "__len__"):
        calibration = list(calibration)
    checked = None if evaluate is None else check_evaluate(evaluate)
    prepare = Preprocess.parse(preprocess if preprocess is not None else graph.preprocess or None)
    points, models = [], []
    memo: dict[str, Any] = {}
    with reporter(progress) as report:
        before = None if checked is None else accuracy_of(graph, checked, prepare)
        for bits in bits_per_weight:
            wanted = replace(chosen, bits_per_weight=float(np.float64(bits)), price=None)
            model = apply_recipe(graph, wanted, calibration, prepare, seed, report, memo)
            agreement = model.provenance.get("agreement", {})
            points.append(
                RatePoint(
                    float(bits),
                    int(model.notes.get("code_bytes", 0)),
                    model.nbytes,
                    None if checked is None else accuracy_of(model, checked, prepare),
                    agreement.get("expected_loss"),
                )
            )
            models.append(model)
    return RateCurve(tuple(points), tuple(models), before)


__all__ = ["BITS", "RateCurve", "RatePoint", "rate_curve"]
