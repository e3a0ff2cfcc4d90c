"""How layers of generated C compute their outputs row by row: ``cpp/tersor/codegen/stream_c99.h``.

A row is one index of the outermost dimension as codes lie in memory: a line of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .c_plan import Activation

Ranges = NDArray[np.int64]


@dataclass(frozen=True)
class Read:
    """What a layer reads of one tensor.

    Attributes
    ----------
    buffer : int
    rows, row_bytes : int
        The tensor as the layer takes it.
    ranges : ndarray of int64, shape (steps, 2)
        First and last (exclusive) row that each step reads.
    """

    buffer: int
    rows: int
    row_bytes: int
    ranges: Ranges


@dataclass(frozen=True)
class Place:
    """Texts of addresses in the function of one step.

    Attributes
    ----------
    at : callable
        Pointer to the first row of a buffer that is held; -1 is scratch memory, -2 what a layer
        keeps from step to step.
    first : callable
        The index of that row.
    """

    at: Callable[[int], str]
    first: Callable[[int], str]

    def row(self, buffer: int, index: str, row_bytes: int) -> str:
        """Pointer to a row."""
        first = self.first(buffer)
        held = f"({index} - {first})" if first != "0" else f"({index})" if " " in index else index
        return f"{self.at(buffer)} + {held} * {row_bytes}"


@dataclass(frozen=True)
class Rowwise:
    """One step of a layer after the other.

    Attributes
    ----------
    body : callable
        Statements of a step; they may use the variables ``r``, its number, and ``y``, where the
        output row goes.
    state : int
        Bytes that are kept from step to step.
    gathers : bool
        Whether steps are rows of the input, the last of which writes the whole output.
    """

    reads: tuple[Read, ...]
    rows: int
    row_bytes: int
    body: Callable[[Place], list[str]]
    state: int = 0
    gathers: bool = False

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.reads[0].rows if self.gathers else self.rows


def shape_of(x: Activation) -> tuple[int, int]:
    """Return rows and bytes of a row."""
    rows = x.physical[0] if x.physical else 1
    return rows, x.size // max(rows, 1)


def read(x: Activation, ranges: Ranges) -> Read:
    """What is read of an activation."""
    return Read(x.buffer, *shape_of(x), ranges)


def each(steps: int, start: int = 0, stride: int = 1) -> Ranges:
    """Ranges of one row: start, start + stride, ..."""
    first = start + stride * np.arange(steps, dtype=np.int64)
    return np.stack([first, first + 1], 1)


def all_of(steps: int, rows: int) -> Ranges:
    """Ranges of everything, at each step."""
    return np.tile(np.array([[0, rows]], np.int64), (steps, 1))


def elementwise(
    inputs: Sequence[Activation], y: Activation, text: Callable[[list[str], str, int], list[str]]
) -> Rowwise | None:
    """Rows of an operator that computes each code from those at the same place.

    Parameters
    ----------
    inputs : sequence of Activation
        Of the shape of `y`.
    y : Activation
    text : callable
        ``text(inputs, output, codes)`` gives the statements.

    Returns
    -------
    Rowwise or None
        None where there is one row only.
    """
    rows, row_bytes = shape_of(y)
    if rows < 2:
        return None

    def body(place: Place) -> list[str]:
        return text([place.row(x.buffer, "r", row_bytes) for x in inputs], "y", row_bytes)

    return Rowwise(tuple(read(x, each(rows)) for x in inputs), rows, row_bytes, body)


def windows(
    x: Activation,
    y: Activation,
    ranges: Ranges,
    residual: Activation | None,
    text: Callable[[Place, str, str], list[str]],
) -> Rowwise | None:
    """Rows of a sliding window over images, channels last.

    Parameters
    ----------
    x, y : Activation
    ranges : ndarray of int64, shape (rows of y, 2)
    residual : Activation, optional
    text : callable
        ``text(place, first, residual)`` gives the statements from the index of the first row of
        `x` that is held and a pointer to the row of the residual.

    Returns
    -------
    Rowwise or None
        None where there is one row only.
    """
    rows, row_bytes = shape_of(y)
    if len(x.shape) != 3 or shape_of(x)[0] < 2:
        return None
    reads = [read(x, ranges)]
    if residual is not None:
        reads.append(read(residual, each(rows)))

    def body(place: Place) -> list[str]:
        added = "" if residual is None else place.row(residual.buffer, "r", row_bytes)
        return text(place, place.first(x.buffer), added)

    return Rowwise(tuple(reads), rows, row_bytes, body)


def gathered(
    x: Activation, y: Activation, state: int, text: Callable[[str, str, str], list[str]]
) -> Rowwise | None:
    """Steps of a sum over all rows.

    Parameters
    ----------
    x, y : Activation
    state : int
        Bytes that are kept from step to step.
    text : callable
        ``text(row, output, state)`` gives the statements.

    Returns
    -------
    Rowwise or None
        None where there is one row only.
    """
    rows, row_bytes = shape_of(x)
    if rows < 2:
        return None

    def body(place: Place) -> list[str]:
        return text(place.row(x.buffer, "r", row_bytes), place.at(y.buffer), place.at(-2))

    return Rowwise((read(x, each(rows)),), 1, y.size, body, state, True)


__all__ = [
    "Place",
    "Read",
    "Rowwise",
    "all_of",
    "each",
    "elementwise",
    "gathered",
    "read",
    "shape_of",
    "windows",
]
