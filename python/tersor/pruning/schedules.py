"""How sparsity grows while a network is trained. Numbers only, so there is no native half."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConstantSchedule:
    """The final sparsity from `begin` on.

    Parameters
    ----------
    sparsity : float
        Share of weights to drop, in [0, 1].
    begin : int, default 0
        Step from which on weights are pruned.
    end : int, optional
        Last step at which masks may change; None: never the last.
    frequency : int, default 100
        Steps between two updates of the masks.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> schedule = ConstantSchedule(0.5, begin=10, end=20, frequency=5)
    >>> [(step, schedule.sparsity_at(step)) for step in range(40) if schedule.updates_at(step)]
    [(10, 0.5), (15, 0.5), (20, 0.5)]
    """

    sparsity: float
    begin: int = 0
    end: int | None = None
    frequency: int = 100

    def __post_init__(self) -> None:
        _check_share("ConstantSchedule", "sparsity", self.sparsity)
        _check_steps("ConstantSchedule", self.begin, self.end, self.frequency)

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity that masks have at an optimizer step, counted from 0."""
        return self.sparsity if step >= self.begin else 0.0

    def updates_at(self, step: int) -> bool:
        """Return whether masks are computed anew at a step."""
        return _due(step, self.begin, self.end, self.frequency)


@dataclass(frozen=True)
class PolynomialSchedule:
    """Sparsity that grows fast at first and slowly at the end (Zhu & Gupta 2017, equation 1).

    ``final + (initial - final) * (1 - (step - begin) / (end - begin))**power`` between `begin` and
    `end`, 0 before, `final` after.

    Parameters
    ----------
    final : float
        Share of weights to drop at the end, in [0, 1].
    end : int
        Step at which `final` is reached, after `begin`.
    initial : float, default 0
        Sparsity at `begin`, in [0, final].
    begin : int, default 0
    frequency : int, default 100
        Steps between two updates of the masks; `end` is one in any case.
    power : float, default 3
        Greater than 0.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    .. [1] Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
       compression", 2017.

    Examples
    --------
    >>> schedule = PolynomialSchedule(0.8, end=1000)
    >>> [round(schedule.sparsity_at(step), 3) for step in (0, 250, 500, 1000, 2000)]
    [0.0, 0.463, 0.7, 0.8, 0.8]
    """

    final: float
    end: int
    initial: float = 0.0
    begin: int = 0
    frequency: int = 100
    power: float = 3.0

    def __post_init__(self) -> None:
        name = "PolynomialSchedule"
        _check_share(name, "final", self.final)
        if not 0 <= self.initial <= self.final:
            raise ValueError(f"{name}: initial must be in [0, {self.final}], got {self.initial}")
        _check_steps(name, self.begin, self.end, self.frequency)
        if self.end <= self.begin:
            raise ValueError(f"{name}: end must be after begin {self.begin}, got {self.end}")
        if not self.power > 0:
            raise ValueError(f"{name}: power must be greater than 0, got {self.power}")

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity that masks have at an optimizer step, counted from 0."""
        if step < self.begin:
            return 0.0
        if step >= self.end:
            return self.final
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return float(self.final + (self.initial - self.final) * left**self.power)

    def updates_at(self, step: int) -> bool:
        """Return whether masks are computed anew at a step."""
        return step == self.end or _due(step, self.begin, self.end, self.frequency)


@dataclass(frozen=True)
class IterativeSchedule:
    """Rounds of pruning and fine-tuning: each drops the same share of what is left.

    After round k of `rounds` the sparsity is ``1 - (1 - final)**(k / rounds)``.

    Parameters
    ----------
    final : float
        Share of weights to drop after the last round, in [0, 1].
    rounds : int
        At least 1.
    steps : int
        Optimizer steps of a round, at least 1; masks change at the first of each.
    begin : int, default 0
        First step of the first round.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    .. [1] Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
       NeurIPS 2015.

    Examples
    --------
    >>> schedule = IterativeSchedule(0.75, rounds=2, steps=100)
    >>> [schedule.sparsity_at(step) for step in (0, 99, 100, 500)]
    [0.5, 0.5, 0.75, 0.75]
    """

    final: float
    rounds: int
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        name = "IterativeSchedule"
        _check_share(name, "final", self.final)
        _check_steps(name, self.begin, None, 1)
        for what, value in (("rounds", self.rounds), ("steps", self.steps)):
            if value < 1:
                raise ValueError(f"{name}: {what} must be at least 1, got {value}")

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity that masks have at an optimizer step, counted from 0."""
        if step < self.begin:
            return 0.0
        done = min(self.rounds, (step - self.begin) // self.steps + 1)
        return self.final if done == self.rounds else 1 - (1 - self.final) ** (done / self.rounds)

    def updates_at(self, step: int) -> bool:
        """Return whether masks are computed anew at a step."""
        last = self.begin + (self.rounds - 1) * self.steps
        return _due(step, self.begin, last, self.steps)


def _due(step: int, begin: int, end: int | None, frequency: int) -> bool:
    inside = step >= begin and (end is None or step <= end)
    return inside and (step - begin) % frequency == 0


def _check_share(name: str, what: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: {what} must be in [0, 1], got {value}")


def _check_steps(name: str, begin: int, end: int | None, frequency: int) -> None:
    if begin < 0:
        raise ValueError(f"{name}: begin must be at least 0, got {begin}")
    if end is not None and end < begin:
        raise ValueError(f"{name}: end must be at least begin {begin}, got {end}")
    if frequency < 1:
        raise ValueError(f"{name}: frequency must be at least 1, got {frequency}")


__all__ = ["ConstantSchedule", "IterativeSchedule", "PolynomialSchedule"]
