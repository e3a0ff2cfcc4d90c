"""What a sweep varies: choices of architecture, recipe and training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from ..base.schema import check_keys
from ..base.yaml_file import read_yaml

# Options that only some architectures have; of the others they change nothing and are not asked.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "filters": ("staged_cnn",),
    "kernel": ("staged_cnn",),
    "depth": ("staged_cnn",),
    "separable": ("staged_cnn",),
}
KEYS = ("architecture", "width", *_OPTIONS, "recipe", "learning_rate", "weight_decay")
_RANGES = ("learning_rate", "weight_decay")
DEFAULT: dict[str, Any] = {
    "architecture": ["staged_cnn"],
    "filters": [16, 32, 64],
    "kernel": [3, 5],
    "depth": [3, 4],
    "width": [0.5, 1.0],
    "separable": [False, True],
    "recipe": ["int8", "w4a8"],
    "learning_rate": [0.1],
}


class SweepSpace:
    """Choices by name.

    Parameters
    ----------
    choices : mapping, optional
        Lists of values for ``architecture`` (names of the zoo), ``width``, ``filters``, ``kernel``,
        ``depth``, ``separable``, ``recipe`` (names or paths; ``"fp32"`` for none); lists, or
        ``{"low": 0.01, "high": 0.3}`` on a logarithmic scale, for ``learning_rate`` and
        ``weight_decay``. What is missing has its default.

    Raises
    ------
    ValueError
        If a name is unknown, a list is empty or a range is none.
    """

    def __init__(self, choices: Mapping[str, Any] | None = None) -> None:
        given = check_keys(choices or {}, allowed=KEYS, what="sweep: space")
        self.choices = {**DEFAULT, **given}
        for name, values in self.choices.items():
            if isinstance(values, Mapping):
                _check_range(name, values)
            elif isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(f"sweep: space {name} must be a list of values, got {values!r}")
        known = import_module("tersor.zoo").names()
        for name in self.choices["architecture"]:
            if name not in known:
                raise ValueError(
                    f"sweep: architecture must be one of {', '.join(known)}, got {name!r}"
                )

    @classmethod
    def parse(cls, space: SweepSpace | Mapping[str, Any] | str | Path | None) -> SweepSpace:
        """Return a space of any form that a user may give.

        Parameters
        ----------
        space : SweepSpace, mapping, path of a YAML file, or None

        Returns
        -------
        SweepSpace
        """
        if isinstance(space, SweepSpace):
            return space
        if isinstance(space, (str, Path)):
            space = read_yaml(space, what="sweep space")
        return cls(space)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Let a trial choose.

        Parameters
        ----------
        trial : optuna.Trial

        Returns
        -------
        dict
        """
        chosen: dict[str, Any] = {}
        for name in KEYS:
            values = self.choices.get(name)
            if values is None:
                continue
            if chosen.get("architecture") not in _OPTIONS.get(name, (chosen.get("architecture"),)):
                continue
            if isinstance(values, Mapping):
                low, high = float(values["low"]), float(values["high"])
                chosen[name] = trial.suggest_float(name, low, high, log=True)
            else:
                chosen[name] = trial.suggest_categorical(name, list(values))
        return chosen

    def build(self, chosen: Mapping[str, Any], *, num_classes: int, input_size: int) -> nn.Module:
        """Build the network of a choice, with random weights.

        Parameters
        ----------
        chosen : mapping
            As :meth:`suggest` returned.
        num_classes, input_size : int

        Returns
        -------
        torch.nn.Module
        """
        options = {name: chosen[name] for name in ("width", *_OPTIONS) if name in chosen}
        # By name: the rooms lie side by side, and neither depends on the other.
        module: nn.Module = import_module("tersor.zoo").create(
            chosen["architecture"], num_classes=num_classes, input_size=input_size, **options
        )
        return module

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as plain data.

        Returns
        -------
        dict
        """
        return dict(self.choices)


def _check_range(name: str, values: Mapping[str, Any]) -> None:
    ends = check_keys(values, allowed=("low", "high"), required=("low", "high"), what=name)
    if name not in _RANGES:
        raise ValueError(f"sweep: space {name} must be a list of values, got a range")
    if not 0 < ends["low"] <= ends["high"] < math.inf:
        raise ValueError(f"sweep: space {name} must have 0 < low <= high, got {dict(values)!r}")


__all__ = ["DEFAULT", "KEYS", "SweepSpace"]
