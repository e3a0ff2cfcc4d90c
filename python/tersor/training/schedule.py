"""Learning rates as a function of the step: nothing to save, nothing to step."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""Factor of the learning rate at a share of the run in [0, 1)."""

# Start and end of one cycle as shares of its peak (Smith & Topin 2019; PyTorch's defaults).
_START, _END = 1 / 25, 1e-5


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": _cosine,
    "one_cycle": lambda progress: _END + (1 - _END) * _cosine(progress),
}


def learning_rate_factor(
    schedule: str | Schedule, step: int, total: int, warmup_steps: int
) -> float:
    """Return what the learning rate of a step is multiplied by.

    Warm-up rises linearly to 1; for ``"one_cycle"`` it is half a cosine from 1 / 25. After it the
    schedule runs over the rest of the steps.

    Parameters
    ----------
    schedule : {"constant", "linear", "cosine", "one_cycle"} or callable
        A callable maps the share of the steps after warm-up, in [0, 1), to a factor.
    step : int
        From 0.
    total : int
        Steps of the run.
    warmup_steps : int
        In [0, total].

    Returns
    -------
    float

    References
    ----------
    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    Smith & Topin, "Super-convergence: very fast training of neural networks", 2019.

    Examples
    --------
    >>> [round(learning_rate_factor("cosine", s, 6, 2), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup_steps:
        if schedule == "one_cycle":
            return _START + (1 - _START) * (1 - _cosine(step / warmup_steps))
        return (step + 1) / warmup_steps
    run = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return float(run((step - warmup_steps) / max(total - warmup_steps, 1)))


__all__ = ["SCHEDULES", "Schedule", "learning_rate_factor"]
