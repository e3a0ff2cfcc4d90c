"""The arguments of ``fit``, checked once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..base.schema import did_you_mean
from ..data.augment import Augment
from ..data.mixing import Mixing
from ..data.preprocess import Preprocess
from .optimizer import OPTIMIZERS, MakeOptimizer
from .precision import PRECISIONS
from .schedule import SCHEDULES, Schedule

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# What may differ between a run and its continuation without changing the result.
_NOT_RESULT = ("checkpoint_dir", "checkpoint_steps", "resume", "device", "batch_size", "accumulate")


@dataclass(frozen=True)
class Options:
    """The arguments of ``fit``; meanings and defaults are stated there.

    Raises
    ------
    ValueError
        If a value is out of range, naming it.
    """

    epochs: int
    batch_size: int
    optimizer: str | MakeOptimizer
    learning_rate: float
    schedule: str | Schedule
    warmup: float
    weight_decay: float
    momentum: float
    label_smoothing: float
    loss: Loss | None
    augment: Augment | None
    preprocess: Preprocess | None
    mixing: Mixing
    ema: float | None
    precision: str
    accumulate: int
    clip: float | None
    has_validation: bool
    checkpoint_dir: Path | None
    checkpoint_steps: int | None
    resume: bool | Path
    seed: int
    device: str | None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "checkpoint_steps"):
            _check_integer(name, getattr(self, name), 1, optional=name == "checkpoint_steps")
        _check_integer("seed", self.seed, 0)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("schedule", self.schedule, SCHEDULES)
        if self.precision not in PRECISIONS:
            _check_choice("precision", str(self.precision), PRECISIONS)
        _check_number("learning_rate", self.learning_rate, above=0)
        _check_number("weight_decay", self.weight_decay, least=0)
        _check_number("momentum", self.momentum, least=0, below=1)
        _check_number("label_smoothing", self.label_smoothing, least=0, below=1)
        _check_number("warmup", self.warmup, least=0)
        if self.warmup > self.epochs:
            raise ValueError(
                f"fit: warmup must be at most epochs ({self.epochs}), got {self.warmup}"
            )
        if self.ema is not None:
            _check_number("ema", self.ema, above=0, below=1)
        if self.clip is not None:
            _check_number("clip", self.clip, above=0)
        if self.loss is not None and self.label_smoothing:
            raise ValueError(
                f"fit: label_smoothing must be 0 where loss is given, got {self.label_smoothing}"
            )
        needs_folder = self.resume is True or self.checkpoint_steps is not None
        if needs_folder and self.checkpoint_dir is None:
            name = "resume" if self.resume is True else "checkpoint_steps"
            raise ValueError(f"fit: checkpoint_dir must be given with {name}, got None")

    def fingerprint(self, **more: Any) -> dict[str, Any]:
        """Return what the result depends on as plain data: a checkpoint is for one of these.

        Parameters
        ----------
        **more : int or str
            Further entries.

        Returns
        -------
        dict
        """
        plain: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _NOT_RESULT:
                continue
            if isinstance(value, Preprocess):
                value = value.to_dict()
            elif isinstance(value, (Augment, Mixing)):
                value = asdict(value)
            elif callable(value):
                value = getattr(value, "__qualname__", type(value).__qualname__)
            plain[field.name] = value
        return plain | more


def _check_integer(name: str, value: Any, low: int, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"fit: {name} must be an integer >= {low}, got {value!r}")


def _check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (
        is_number
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return
    low = f">= {least}" if least is not None else f"> {above}"
    high = "" if below is None else f" and < {below}"
    raise ValueError(f"fit: {name} must be a number {low}{high}, got {value!r}")


def _check_choice(name: str, value: Any, known: Any) -> None:
    if callable(value) or (isinstance(value, str) and value in known):
        return
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise ValueError(f"fit: {name} must be one of {', '.join(known)}, got {value!r}{hint}")


__all__ = ["Loss", "Options"]
