"""What must hold after compression: file size, memory, latency, energy and accuracy drop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.error import BudgetError
from ..base.schema import check_keys
from ..base.yaml_file import read_yaml
from .units import (
    format_bytes,
    format_joules,
    format_seconds,
    format_share,
    parse_bytes,
    parse_quantity,
    parse_share,
)

LINES = ("size", "ram", "flash", "latency", "energy", "accuracy_drop")
_FORMAT = {
    "size": format_bytes,
    "ram": format_bytes,
    "flash": format_bytes,
    "latency": format_seconds,
    "energy": format_joules,
    "accuracy_drop": format_share,
}


@dataclass(frozen=True, init=False)
class Budget:
    """Upper limits; a line that is None is free.

    Parameters
    ----------
    size : int or str, optional
        Bytes of the saved file (``"128 KB"``; KB = 1024, kB = 1000 bytes).
    ram : int or str, optional
        Peak bytes of activations, and of weights where the target loads them to memory.
    flash : int or str, optional
        Bytes of generated C on a microcontroller: weights, tables and code; elsewhere those of the
        saved file.
    latency : float or str, optional
        Seconds of one inference at batch size 1 (``"5 ms"``).
    energy : float or str, optional
        Joules of one inference (``"8 mJ"``).
    accuracy_drop : float or str, optional
        Share in [0, 1] that top-1 accuracy may lose against the uncompressed network (``0.01``,
        ``"1 %"``).

    Raises
    ------
    ValueError, TypeError
        If a line cannot be read; see :mod:`tersor.targets.units`.

    Examples
    --------
    >>> Budget(size="128 KB", accuracy_drop="1 %")
    Budget(size=131072, accuracy_drop=0.01)
    """

    size: int | None
    ram: int | None
    flash: int | None
    latency: float | None
    energy: float | None
    accuracy_drop: float | None

    def __init__(
        self,
        size: float | str | None = None,
        ram: float | str | None = None,
        latency: float | str | None = None,
        energy: float | str | None = None,
        accuracy_drop: float | str | None = None,
        flash: float | str | None = None,
    ) -> None:
        values = {
            "size": None if size is None else parse_bytes(size, what="budget size"),
            "ram": None if ram is None else parse_bytes(ram, what="budget ram"),
            "flash": None if flash is None else parse_bytes(flash, what="budget flash"),
            "latency": None
            if latency is None
            else parse_quantity(latency, "s", what="budget latency"),
            "energy": None if energy is None else parse_quantity(energy, "J", what="budget energy"),
            "accuracy_drop": None
            if accuracy_drop is None
            else parse_share(accuracy_drop, what="budget accuracy_drop"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        lines = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"Budget({lines})"

    def __bool__(self) -> bool:
        """True where at least one line is limited."""
        return bool(self.to_dict())

    @classmethod
    def parse(cls, value: Budget | Mapping[str, Any] | str | Path | None) -> Budget:
        """Read a budget from any form a user may give.

        Parameters
        ----------
        value : Budget, mapping, str, Path or None
            A mapping of lines, text such as ``"size=128KB,accuracy_drop=1%"``, or the path of a
            ``.yaml`` file; None is the empty budget.

        Returns
        -------
        Budget

        Raises
        ------
        ValueError
            If a line is unknown (the closest known one is named), repeated or cannot be read.
        FileNotFoundError
            If the YAML file is missing.

        Examples
        --------
        >>> Budget.parse("size=128KB, accuracy_drop=1%")
        Budget(size=131072, accuracy_drop=0.01)
        """
        if value is None:
            return cls()
        if isinstance(value, Budget):
            return value
        if isinstance(value, Path) or (
            isinstance(value, str) and value.endswith((".yaml", ".yml"))
        ):
            value = read_yaml(value, what="budget file")
        if isinstance(value, str):
            value = _split_lines(value)
        return cls(**check_keys(value, allowed=LINES, what="budget"))

    def to_dict(self) -> dict[str, float]:
        """Return the limited lines.

        Returns
        -------
        dict of str to float
            In base units: bytes, seconds, joules, share.
        """
        return {name: getattr(self, name) for name in LINES if getattr(self, name) is not None}

    def merge(self, other: Budget) -> Budget:
        """Return this budget with the given lines of another in place of its own.

        Parameters
        ----------
        other : Budget

        Returns
        -------
        Budget
        """
        return Budget(**{**self.to_dict(), **other.to_dict()})

    def misses(
        self, figures: Mapping[str, float | None], sources: Mapping[str, str] | None = None
    ) -> tuple[Miss, ...]:
        """List the lines that do not hold.

        Parameters
        ----------
        figures : mapping of str to float or None
            The value of each line, in bytes, seconds, joules, share.
        sources : mapping of str to str, optional
            Where a figure comes from, such as ``"measured"`` or ``"modelled"``.

        Returns
        -------
        tuple of Miss
            Empty where the budget holds.

        Raises
        ------
        ValueError
            If a limited line has no figure: a budget that nobody checked is not met.
        """
        found = []
        for name, limit in self.to_dict().items():
            actual = figures.get(name)
            if actual is None:
                need = " (give evaluation data with labels)" if name == "accuracy_drop" else ""
                raise ValueError(f"budget asks for {name}, but there is no figure for it{need}")
            # "not <=" so that NaN counts as a miss.
            if not actual <= limit:
                found.append(Miss(name, limit, actual, (sources or {}).get(name, "measured")))
        return tuple(found)

    def check(
        self, figures: Mapping[str, float | None], sources: Mapping[str, str] | None = None
    ) -> None:
        """Raise :class:`tersor.BudgetError` unless every line holds.

        Parameters
        ----------
        figures : mapping of str to float or None
            The value of each line, in bytes, seconds, joules, share.
        sources : mapping of str to str, optional
            Where a figure comes from, such as ``"measured"`` or ``"modelled"``.

        Raises
        ------
        BudgetError
            If a line does not hold; its message says by how much.
        ValueError
            If a limited line has no figure.

        Examples
        --------
        >>> Budget(size="1 KB").check({"size": 900})
        """
        missed = self.misses(figures, sources)
        if missed:
            listed = "; ".join(str(miss) for miss in missed)
            raise BudgetError(f"budget not met: {listed}", missed)


@dataclass(frozen=True)
class Miss:
    """One line of a budget that does not hold.

    Attributes
    ----------
    line : str
        Name of the line.
    limit, actual : float
        In base units: bytes, seconds, joules, share.
    source : str
        Where the actual figure comes from: ``"measured"`` or ``"modelled"``.
    """

    line: str
    limit: float
    actual: float
    source: str

    @property
    def excess(self) -> float:
        """What is too much, in base units."""
        return self.actual - self.limit

    @property
    def ratio(self) -> float:
        """The actual figure as a share of the limit; infinite where that is 0."""
        return self.actual / self.limit if self.limit > 0 else math.inf

    def __str__(self) -> str:
        show = _FORMAT[self.line]
        over = show(self.excess)
        if self.line == "accuracy_drop":
            over = over.replace("%", "points")
        elif self.limit > 0:
            over = f"{over} or {100 * (self.ratio - 1):.1f} %"
        actual = f"{self.line} is {show(self.actual)} ({self.source})"
        return f"{actual}, limit {show(self.limit)}: {over} too much"


def format_line(line: str, value: float, *, up: bool = False) -> str:
    """Return a line's quantity as text.

    Parameters
    ----------
    line : str
        One of `LINES`.
    value : float
        In base units: bytes, seconds, joules, share.
    up : bool, default False
        In a form that `Budget.parse` reads, rounded up.

    Returns
    -------
    str

    Examples
    --------
    >>> format_line("size", 2000, up=True), format_line("latency", 1.2345e-3, up=True)
    ('2KB', '1.24ms')
    """
    if not up:
        return _FORMAT[line](value)
    if line == "accuracy_drop":
        return f"{math.ceil(1000 * value - 1e-9) / 10:g}%"
    if line in ("latency", "energy"):
        unit = "s" if line == "latency" else "J"
        exponent = 0
        for exponent, prefix in ((0, ""), (-3, "m"), (-6, "u")):  # noqa: B007
            if value >= 10.0**exponent:
                break
        scaled = value / 10.0**exponent
        digits = max(0, 2 - math.floor(math.log10(max(scaled, 1e-3))))
        return f"{math.ceil(scaled * 10**digits - 1e-9) / 10**digits:g}{prefix}{unit}"
    if value >= 1 << 20:
        return f"{math.ceil(100 * value / (1 << 20)) / 100:g}MB"
    return f"{math.ceil(10 * value / 1024) / 10:g}KB"


def _split_lines(text: str) -> dict[str, str]:
    """Read ``"size=128KB,accuracy_drop=1%"``."""
    lines: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, quantity = (piece.strip() for piece in part.partition("="))
        if not separator or not quantity:
            raise ValueError(
                f"budget must be lines such as size=128KB,accuracy_drop=1%, got {part!r}"
            )
        if name in lines:
            raise ValueError(f"budget: {name!r} is given twice")
        lines[name] = quantity
    return lines


__all__ = ["LINES", "Budget", "Miss", "format_line"]
