"""In which order the rows of streamed layers are computed, and how many of each tensor are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .c_plan import Layer
from .c_rows import Place, Read, Rowwise, all_of

Bytes = NDArray[np.int64]


@dataclass
class Schedule:
    """The steps of the layers [begin, end).

    Attributes
    ----------
    order : list of int
        Layer of each step.
    capacity : dict of int to int
        Rows that are held at once of each buffer that a step writes a row of.
    held : dict of int to (ndarray, ndarray)
        For each buffer of these layers, the bytes [low, high) of it that are held during each step;
        (0, 0) where none is.
    """

    begin: int
    end: int
    order: list[int] = field(default_factory=list)
    capacity: dict[int, int] = field(default_factory=dict)
    held: dict[int, tuple[Bytes, Bytes]] = field(default_factory=dict)


def stepwise(layer: Layer, sizes: Sequence[int]) -> Rowwise:
    """How a layer is computed in steps: row by row, or in one.

    Parameters
    ----------
    layer : Layer
    sizes : sequence of int
        Bytes of each buffer.

    Returns
    -------
    Rowwise
    """
    if layer.rows is not None:
        return layer.rows
    reads = tuple(Read(b, 1, sizes[b], all_of(1, 1)) for b in layer.inputs)

    def body(place: Place) -> list[str]:
        return layer.body(place.at, False)

    return Rowwise(reads, 1, sizes[layer.output], body)


class Scheduler:
    """Rows on demand: the last layer asks for what its next row needs, and so on upwards.

    Parameters
    ----------
    layers : sequence of Layer
    sizes : sequence of int
        Bytes of each buffer.
    outputs : sequence of int
        Buffers that are read behind the last layer.
    """

    def __init__(
        self, layers: Sequence[Layer], sizes: Sequence[int], outputs: Sequence[int]
    ) -> None:
        self.layers = layers
        self.sizes = sizes
        self.outputs = set(outputs)
        self.rows = [stepwise(layer, sizes) for layer in layers]
        self.readers: dict[int, list[int]] = {}
        for index, layer in enumerate(layers):
            for buffer in dict.fromkeys(layer.inputs):
                self.readers.setdefault(buffer, []).append(index)

    def branches(self, begin: int, end: int) -> list[int]:
        """Layers that read what others read too: those that may better not wait to be asked."""
        found: set[int] = set()
        for readers in self.readers.values():
            inside = [i for i in readers if begin <= i < end]
            if len(inside) > 1:
                found.update(inside)
        return sorted(found)

    def run(self, begin: int, end: int, eager: frozenset[int] = frozenset()) -> Schedule:
        """Schedule the layers [begin, end).

        Parameters
        ----------
        begin, end : int
        eager : set of int
            Layers that compute a row as soon as they can, not when it is asked for.

        Returns
        -------
        Schedule
        """
        made = Schedule(begin, end)
        walk = _Walk(self, made, eager)
        sinks = [i for i in range(begin, end) if self.leaves(self.layers[i].output, begin, end)]
        # A caller who brings rows comes first, and brings those that nobody needs as well.
        for index in range(begin, end):
            if not self.layers[index].inputs:
                walk.step(index)
                sinks.insert(0, index)
        for index in reversed(sinks):
            while walk.done[index] < self.rows[index].steps:
                walk.step(index)
        self._measure(made)
        return made

    def leaves(self, buffer: int, begin: int, end: int) -> bool:
        """Return whether a buffer is read behind the layers [begin, end)."""
        return buffer in self.outputs or any(i >= end for i in self.readers.get(buffer, []))

    def fits(self, index: int, read: Read) -> bool:
        """Return whether what a layer writes step by step are the rows that another reads."""
        rows = self.rows[index]
        return not rows.gathers and (rows.rows, rows.row_bytes) == (read.rows, read.row_bytes)

    def _measure(self, made: Schedule) -> None:
        """Work out what is held when."""
        begin, end, count = made.begin, made.end, len(made.order)
        order = np.array(made.order, np.int64)
        times = {i: np.flatnonzero(order == i) for i in range(begin, end)}
        producers = {self.layers[i].output: i for i in range(begin, end)}
        buffers = set(producers)
        for i in range(begin, end):
            buffers.update(self.layers[i].inputs)
        for buffer in buffers:
            made.held[buffer] = self._held(made, buffer, producers.get(buffer), times, count)

    def _held(
        self,
        made: Schedule,
        buffer: int,
        producer: int | None,
        times: dict[int, NDArray[np.int64]],
        count: int,
    ) -> tuple[Bytes, Bytes]:
        leaves = self.leaves(buffer, made.begin, made.end)
        never = np.int64(self.sizes[buffer])
        needed = np.full(count + 1, never)
        needed[count] = 0 if leaves else never
        readers = [i for i in self.readers.get(buffer, []) if i in times]
        alike = True
        for index in readers:
            for read in self.rows[index].reads:
                if read.buffer != buffer:
                    continue
                at = times[index]
                low = read.ranges[: len(at), 0] * read.row_bytes
                np.minimum.at(needed, at, np.minimum(low, never))
                alike &= producer is not None and self.fits(producer, read)
        # The lowest byte that is read at a step or behind it.
        low = np.minimum.accumulate(needed[::-1])[::-1][:count]
        if producer is None:
            return low, np.full(count, never)
        rows = self.rows[producer]
        written = times[producer]
        ends = np.arange(1, len(written) + 1) * rows.row_bytes
        if rows.gathers:
            written, ends = written[rows.steps - 1 :], np.array([rows.row_bytes])[: len(written)]
        steps = np.zeros(count, np.int64)
        steps[written[: len(ends)]] = np.diff(ends[: len(written)], prepend=0)
        high = np.cumsum(steps)
        if not rows.gathers:
            oldest = low[written] // max(rows.row_bytes, 1)
            held = int((np.arange(len(written)) - oldest).max(initial=0)) + 1
            whole = leaves or not alike
            made.capacity[buffer] = rows.rows if whole else min(held, rows.rows)
            if made.capacity[buffer] < rows.rows:
                used = (low < high) | (steps > 0)
                room = made.capacity[buffer] * rows.row_bytes
                return np.zeros(count, np.int64), np.where(used, np.minimum(high, room), 0)
        # A row is held at least while it is written.
        low = np.minimum(low, np.where(steps > 0, high - steps, low))
        return np.where(low < high, low, 0), np.where(low < high, high, 0)


class _Walk:
    """One way through the steps."""

    def __init__(self, scheduler: Scheduler, made: Schedule, eager: frozenset[int]) -> None:
        self.scheduler = scheduler
        self.made = made
        self.done = dict.fromkeys(range(made.begin, made.end), 0)
        layers = scheduler.layers
        self.producers = {layers[i].output: i for i in self.done}
        self.eager: dict[int, list[int]] = {}
        for index in sorted(eager):
            for buffer in layers[index].inputs:
                self.eager.setdefault(buffer, []).append(index)

    def missing(self, read: Read, step: int) -> int | None:
        """Return the layer that has to go on before a step can read."""
        index = self.producers.get(read.buffer)
        if index is None:
            return None
        wanted = int(read.ranges[step, 1])
        if not self.scheduler.fits(index, read):
            wanted = self.scheduler.rows[index].steps
        return index if self.done[index] < wanted else None

    def step(self, index: int) -> None:
        """Do the next step of a layer, and before it what that needs."""
        step = self.done[index]
        for read in self.scheduler.rows[index].reads:
            while (first := self.missing(read, step)) is not None:
                self.step(first)
        if self.done[index] != step:
            return  # it was eager, and ran as its input arrived
        self.made.order.append(index)
        self.done[index] += 1
        for reader in self.eager.get(self.scheduler.layers[index].output, []):
            while self.is_ready(reader):
                self.step(reader)

    def is_ready(self, index: int) -> bool:
        """Return whether the next step of a layer needs nothing more."""
        rows, step = self.scheduler.rows[index], self.done[index]
        return step < rows.steps and all(self.missing(r, step) is None for r in rows.reads)


__all__ = ["Schedule", "Scheduler", "stepwise"]
