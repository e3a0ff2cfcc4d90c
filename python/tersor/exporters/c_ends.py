"""Inputs and outputs of a network in C, as its header states them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..graph.graph import Graph


@dataclass(frozen=True)
class End:
    """An input or output.

    Attributes
    ----------
    name : str
        Of the edge in the source network.
    size : int
        Bytes.
    shape : tuple of int
        As it lies in memory.
    axes : tuple of int
        The source network's axis of each of them.
    scale : float32
    zero_point : int
    floats : bool
        Whether the source network has floats here.
    tail : str
        Float operators that the C leaves to its caller.
    away : bool
        Whether floats halfway between two codes are rounded away from zero, not to even.
    """

    name: str
    size: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    scale: np.float32
    zero_point: int
    floats: bool
    tail: str
    away: bool = False

    @property
    def logical(self) -> tuple[int, ...]:
        """Shape in the source network's order of axes, without the batch."""
        lengths = dict(zip(self.axes, self.shape, strict=True))
        return tuple(lengths[i] for i in range(len(self.axes)))

    def codes(self, x: ArrayLike) -> NDArray[np.int8]:
        """Round samples to codes, as a session does; codes stay.

        Parameters
        ----------
        x : array-like of float32 or int8

        Returns
        -------
        ndarray of int8
        """
        array = np.asarray(x)
        if array.dtype == np.int8:
            return array
        if not self.floats:
            raise TypeError(f"HostModel: input {self.name} must be int8, got {array.dtype}")
        ratio = array.astype(np.float32) / self.scale
        if self.away:
            # Exact: trunc(2 r) is odd where r is nearest to a half or beyond.
            codes = np.copysign(np.floor((np.trunc(np.abs(2 * ratio)) + 1) / 2), ratio)
        else:
            codes = np.rint(ratio)
        codes = codes + self.zero_point
        codes = np.where(np.isnan(codes), np.float32(self.zero_point), codes)
        return np.asarray(np.clip(codes, -128, 127), np.int8)

    def to_memory(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """Order codes as the C network holds them.

        Parameters
        ----------
        x : ndarray of int8, shape (samples, ...)
            In the source network's order of axes.

        Returns
        -------
        ndarray of int8
        """
        array = np.asarray(x)
        if array.dtype != np.int8 or array.shape[1:] != self.logical:
            raise ValueError(
                f"HostModel: input {self.name} must be int8 of shape (samples, "
                f"{', '.join(map(str, self.logical))}), got {array.dtype} {array.shape}"
            )
        return np.asarray(array.transpose(0, *(1 + a for a in self.axes)), np.int8)

    def from_memory(self, codes: NDArray[np.int8]) -> NDArray[np.int8]:
        """Order codes as the source network does.

        Parameters
        ----------
        codes : ndarray of int8, shape (samples, ...)
            In the C network's own order.

        Returns
        -------
        ndarray of int8
        """
        y = codes.reshape(len(codes), *self.shape)
        order = (1 + self.axes.index(a) for a in sorted(self.axes))
        return np.ascontiguousarray(y.transpose(0, *order))

    def values(self, codes: NDArray[np.int8]) -> NDArray[Any]:
        """Return what the source network gives for the codes of an output.

        Parameters
        ----------
        codes : ndarray of int8

        Returns
        -------
        ndarray
            float32 where the network goes on in float, else the codes.
        """
        if not self.floats:
            return codes
        values = (codes.astype(np.float32) - np.float32(self.zero_point)) * self.scale
        return values if not self.tail else np.asarray(tail_of(self)(values))


def read_header(folder: Path) -> tuple[str, str]:
    """Find the header of a network in C.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    tuple of str
        The network's name and the header's text.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for path in sorted(folder.glob("*.h")) if folder.is_dir() else []:
        text = path.read_text("utf-8")
        if f"{path.stem.upper()}_ARENA_BYTES" in text and path.with_suffix(".c").is_file():
            return path.stem, text
    raise FileNotFoundError(f"HostModel: folder must hold a network in C, got {str(folder)!r}")


def read_macros(text: str) -> dict[str, str]:
    """Return the macros that a header defines.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict of str to str
    """
    return dict(re.findall(r"^#define (\w+) (.+)$", text, re.M))


def read_ends(macros: dict[str, str], prefix: str) -> list[End]:
    """Return the inputs or outputs that macros describe.

    Parameters
    ----------
    macros : dict of str to str
    prefix : str
        Such as ``"NETWORK_INPUT"``.

    Returns
    -------
    list of End
    """
    ends = []
    for i in range(int(macros[f"{prefix}S"])):
        own = f"{prefix}_{i}"
        shape, axes = (
            tuple(int(v) for v in re.findall(r"\d+", macros[f"{own}_{part}"]))
            for part in ("SHAPE", "AXES")
        )
        ends.append(
            End(
                macros[f"{own}_NAME"].strip('"'), int(macros[f"{own}_BYTES"]), shape, axes,
                np.float32(macros[f"{own}_SCALE"]), int(macros[f"{own}_ZERO_POINT"]),
                macros[f"{own}_FLOAT"] == "1", macros.get(f"{own}_TAIL", '""').strip('"'),
                f"{own}_TIES_AWAY" in macros,
            )
        )  # fmt: skip
    return ends


def tail_of(end: End) -> Any:
    """Return a function for the float operators behind an output, None where there are none.

    Parameters
    ----------
    end : End

    Returns
    -------
    callable or None
    """
    if not end.tail:
        return None
    graph = Graph()
    edge = graph.add_input("x", "float32", (None, *end.logical))
    for text in end.tail.split("; "):
        op, *words = text.split(" ")
        attributes = {key: _value(value) for key, value in (w.split("=", 1) for w in words)}
        edge = graph.add_node(op, [edge], attributes)
    graph.set_outputs([edge])
    session = _core.runtime.Session(graph, 1, "exact", "fp32", "", 0, False, {})

    def run(x: NDArray[np.float32]) -> Any:
        return session.run([np.ascontiguousarray(x)], None)[0]

    return run


def _value(text: str) -> Any:
    if "," in text:
        return [int(v) for v in text.split(",")]
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


__all__ = ["End", "read_ends", "read_header", "read_macros", "tail_of"]
