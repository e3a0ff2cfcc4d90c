"""Which layers of generated C run row by row, and where everything then lies in the arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .c_plan import ALIGNMENT, Layer, Memory, plan, way
from .c_schedule import Schedule, Scheduler

_PLANNED = 6  # segments of layers that are placed, out of those with the fewest bytes held at once
_SEARCHED = 2  # of them, whose orders of placement are searched
_ORDERS = 400  # orders of placement that are tried for each
_NEVER = np.int64(1) << 40

Matrix = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Layers that run row by row.

    Attributes
    ----------
    schedule : Schedule
    scheduler : Scheduler
    """

    schedule: Schedule
    scheduler: Scheduler

    @property
    def ring_bytes(self) -> int:
        """Bytes beside the arena that say which rows are held."""
        return 4 * (self.schedule.end - self.schedule.begin)

    def held_rows(self) -> list[str]:
        """Return for each layer how many rows of its output are held, "" where it runs whole."""
        found = []
        for index, layer in enumerate(self.scheduler.layers):
            held = self.schedule.capacity.get(layer.output)
            rows = self.scheduler.rows[index].rows
            found.append("" if held is None or layer.rows is None else f"{held} of {rows}")
        return found

    def summary(self) -> str:
        """Return which layers run row by row, and which ones in between or behind cannot."""
        layers = self.scheduler.layers
        inside = range(self.schedule.begin, self.schedule.end)
        text = f"Row by row: {layers[inside[0]].name} to {layers[inside[-1]].name}."
        whole = [layers[i].name for i in inside if layers[i].rows is None]
        if whole:
            text += f" In one step, from whole inputs: {', '.join(whole)}."
        return text.replace("*/", "* /")


class Planner:
    """The choice of a segment of layers.

    Parameters
    ----------
    layers : sequence of Layer
    sizes : sequence of int
        Bytes of each buffer.
    inputs, outputs : sequence of int
        Buffers that are filled before the first layer and read behind the last.
    fed : bool
        Whether the first layer takes the input row by row from the caller.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sizes: Sequence[int],
        inputs: Sequence[int],
        outputs: Sequence[int],
        fed: bool,
    ) -> None:
        self.layers = layers
        self.sizes = list(sizes)
        self.inputs = [] if fed else list(inputs)
        self.outputs = list(outputs)
        self.fed = fed
        self.scheduler = Scheduler(layers, sizes, outputs)
        self.normal = None if fed else plan(layers, sizes, inputs, outputs)

    def run(self) -> tuple[Memory, Stream | None]:
        """Return the placement with the smallest arena, and what it streams: None for nothing."""
        best: tuple[Memory, Stream | None] | None = None
        if self.normal is not None:
            best = (self.normal, None)
        segments = self._segments()
        for orders in (0, _ORDERS):
            tried = []
            for segment in segments:
                if best is not None and segment[0] >= best[0].total:
                    continue
                found = self._placed(*segment[1:], orders)
                tried.append((found[0].total, segment))
                if best is None or found[0].total < best[0].total:
                    best = found
            segments = [segment for _, segment in sorted(tried)[:_SEARCHED]]
        assert best is not None
        return best

    def _segments(self) -> list[tuple[int, int, int]]:
        """Return (bytes held at once, begin, end) of the most promising segments, best first."""
        count = len(self.layers)
        need = [self._need(i) for i in range(count)]
        pairs = []
        for begin in range(1 if self.fed else count):
            for end in range(begin + 1, count + 1):
                outside = max(need[:begin] + need[end:], default=0)
                pairs.append((outside, end - begin, begin, end))
        pairs.sort()
        found: list[tuple[int, int, int]] = []
        for outside, _, begin, end in pairs:
            found.sort()
            if len(found) >= _PLANNED and outside >= found[_PLANNED - 1][0]:
                break
            if all(self.layers[i].rows is None for i in range(begin, end)):
                continue
            made = self.scheduler.run(begin, end)
            if made.order:  # else nobody needs these layers
                found.append((max(outside, self._bytes(made)), begin, end))
        found.sort()
        return found[:_PLANNED]

    def _need(self, index: int) -> int:
        """Bytes of a layer that runs whole: about, as an in-place output saves what it can."""
        alive = 0
        for buffer, size in enumerate(self.sizes):
            first, last = self._life(buffer)
            alive += size if first <= index <= last else 0
        saved = [0]
        layer = self.layers[index]
        for s in layer.slides:
            a, b = self.sizes[layer.output], self.sizes[s.source]
            if self._life(s.source)[1] != index or s.source in self.outputs:
                continue
            if s.forwards is not None:
                saved.append(a + b - max(a, b + max(0, s.forwards)))
            if s.backwards is not None:
                saved.append(a + b - max(b, a + max(0, s.backwards)))
        return alive + layer.scratch - max(saved)

    def _life(self, buffer: int) -> tuple[int, int]:
        """First and last layer at which a buffer is alive, -1 before and one more behind all."""
        writers = [i for i, layer in enumerate(self.layers) if layer.output == buffer]
        readers = self.scheduler.readers.get(buffer, [])
        first = -1 if buffer in self.inputs else min(writers, default=len(self.layers))
        last = len(self.layers) if buffer in self.outputs else max([*readers, *writers], default=-1)
        return first, max(first, last)

    def _bytes(self, made: Schedule) -> int:
        """Most bytes that are held at one step of a schedule."""
        total = np.zeros(len(made.order), np.int64)
        for low, high in made.held.values():
            total += high - low
        passing = 0
        for buffer, size in enumerate(self.sizes):
            if buffer not in made.held:
                first, last = self._life(buffer)
                passing += size if first < made.begin and last >= made.end else 0
        layers = range(made.begin, made.end)
        scratch = max(self._scratch(i) for i in layers)
        states = sum(self.scheduler.rows[i].state for i in layers)
        return _aligned(int(total.max(initial=0)) + passing + scratch + states)

    def _scratch(self, index: int) -> int:
        return self.layers[index].scratch

    def _placed(self, begin: int, end: int, orders: int) -> tuple[Memory, Stream]:
        """Schedule a segment as well as it goes, and place it."""
        eager: frozenset[int] = frozenset()
        made = self.scheduler.run(begin, end)
        least = self._bytes(made)
        for index in self.scheduler.branches(begin, end):
            other = self.scheduler.run(begin, end, eager | {index})
            if self._bytes(other) < least:
                made, least, eager = other, self._bytes(other), eager | {index}
        both = [True] * len(self.layers)
        while True:
            memory, conflict = _Placement(self, made, both).run(orders)
            if conflict is None:
                return memory, Stream(made, self.scheduler)
            both[conflict] = False


class _Placement:
    """Offsets of what is held during each step: an order of placement is searched.

    Two things that overlap in time have the distances at which the second may start above the
    first: all of it, or less where the second has died from its start on by the time at which the
    first has grown, or where one slides over the other.
    """

    def __init__(self, planner: Planner, made: Schedule, both: Sequence[bool]) -> None:
        self.planner = planner
        self.made = made
        self.both = both
        count, steps = len(planner.layers), len(made.order)
        self.time = [i if i < made.begin else i + steps - (made.end - made.begin)
                     for i in range(count)]  # fmt: skip
        self.total = count - (made.end - made.begin) + steps + 2  # and before the first, and after
        self.sizes: list[int] = []
        self.low: list[NDArray[np.int64]] = []
        self.high: list[NDArray[np.int64]] = []
        self.scratch = [0] * count
        self.state: dict[int, int] = {}
        self._collect()
        self.distance = self._distances()

    def _collect(self) -> None:
        """List buffers, then scratch memory, then what layers keep."""
        p, made = self.planner, self.made
        streamed = range(made.begin, made.end)
        for buffer, size in enumerate(p.sizes):
            capacity = made.capacity.get(buffer)
            rows = [p.scheduler.rows[i] for i in streamed if p.layers[i].output == buffer]
            held = size if capacity is None else capacity * rows[0].row_bytes
            self._add(held, *self._extent(buffer, size))
        for index, layer in enumerate(p.layers):
            if index not in streamed:
                self.scratch[index] = len(self.sizes)
                self._add(
                    layer.scratch, *self._span(self.time[index], self.time[index], layer.scratch)
                )
        shared = len(self.sizes)
        most = max(p.layers[i].scratch for i in streamed)
        last = made.begin + len(made.order) - 1
        self._add(most, *self._span(made.begin, last, most))
        for index in streamed:
            self.scratch[index] = shared
            state = p.scheduler.rows[index].state
            if state and index in made.order:
                at = [made.begin + t for t, i in enumerate(made.order) if i == index]
                self.state[index] = len(self.sizes)
                self._add(state, *self._span(at[0], at[-1], state))

    def _add(self, size: int, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
        self.sizes.append(_aligned(size))
        self.low.append(low)
        self.high.append(high)

    def _span(self, first: int, last: int, size: int) -> tuple[Matrix, Matrix]:
        """Bytes held from one step to another; step 0 of the layers is column 1."""
        low, high = np.full(self.total, _NEVER), np.full(self.total, -_NEVER)
        if size:
            low[first + 1 : last + 2], high[first + 1 : last + 2] = 0, size
        return low, high

    def _extent(self, buffer: int, size: int) -> tuple[Matrix, Matrix]:
        p, made = self.planner, self.made
        first, last = p._life(buffer)
        steps = len(made.order)

        def at(index: int) -> int:
            if index < made.begin:
                return index
            return made.begin if index < made.end else index + steps - (made.end - made.begin)

        low, high = self._span(at(first), at(last), size)
        if buffer in made.held:
            inner_low, inner_high = made.held[buffer]
            place = slice(made.begin + 1, made.begin + 1 + steps)
            empty = inner_low >= inner_high
            low[place] = np.where(empty, _NEVER, inner_low)
            high[place] = np.where(empty, -_NEVER, inner_high)
        return low, high

    def _distances(self) -> Matrix:
        """[a, b]: how far above the start of `a` the start of `b` may lie."""
        count = len(self.sizes)
        low, high = np.stack(self.low), np.stack(self.high)
        # Only the steps at which something changes matter.
        changes = np.ones(low.shape[1], bool)
        changes[1:] = ((low[:, 1:] != low[:, :-1]) | (high[:, 1:] != high[:, :-1])).any(0)
        low, high = low[:, changes], high[:, changes]
        found = np.empty((count, count), np.int64)
        for a in range(count):
            found[a] = (high[a] - low).max(1)
        found = np.where(found > -_NEVER // 2, -(-found // ALIGNMENT) * ALIGNMENT, -_NEVER)
        for index, layer in enumerate(self.planner.layers):
            if self.made.begin <= index < self.made.end:
                continue
            for s in layer.slides:
                if self.planner._life(s.source)[1] != index or s.source in self.planner.outputs:
                    continue
                for a, b, distance in (
                    (layer.output, s.source, s.forwards),
                    (s.source, layer.output, s.backwards if self.both[index] else None),
                ):
                    if distance is not None:
                        found[a, b] = min(found[a, b], _aligned(distance))
        return found

    def _order(self, order: Sequence[int]) -> tuple[int, NDArray[np.int64]]:
        """Place one after the other, each as low as it goes."""
        offsets = np.zeros(len(self.sizes), np.int64)
        placed: list[int] = []
        top = 0
        for index in order:
            if self.sizes[index]:
                if placed:
                    others = np.array(placed)
                    above = offsets[others] + self.distance[others, index]
                    below = offsets[others] - self.distance[index, others]
                    tries = np.unique(np.append(above[above > 0], 0))
                    fits = (tries[:, None] >= above) | (tries[:, None] <= below)
                    offsets[index] = tries[np.argmax(fits.all(1))]
                placed.append(index)
                top = max(top, int(offsets[index]) + self.sizes[index])
        return top, offsets

    def run(self, orders: int) -> tuple[Memory, int | None]:
        """Return the best placement found, and a layer that would have to run in two directions."""
        p = self.planner
        low, high = np.stack(self.low), np.stack(self.high)
        held = np.where(high > low, high - low, 0)
        streamed = slice(self.made.begin + 1, self.made.begin + 1 + len(self.made.order))
        bound = _aligned(int(held[:, streamed].sum(0).max()))
        births = np.array([int(np.argmax(x > 0)) for x in held])
        every = np.arange(len(self.sizes))
        sizes = np.array(self.sizes)
        # What is there first and dies bit by bit goes last, over what grows below it.
        sources = np.isin(every, p.inputs)
        keys = ((births, sources), (births,), (-sizes,), (-sizes, sources))
        starts: list[list[int]] = [np.lexsort((every, *key)).tolist() for key in keys]
        best = min((self._order(s) for s in starts), key=lambda found: found[0])
        order = min(starts, key=lambda s: self._order(s)[0])
        rng = np.random.default_rng(0)
        for _ in range(orders):
            if best[0] <= bound:
                break
            i, j = rng.integers(len(order), size=2)
            other = list(order)
            other.insert(int(j), other.pop(int(i)))
            found = self._order(other)
            if found[0] <= best[0]:
                best, order = found, other
        return self._memory(*best, bound)

    def _memory(
        self, total: int, found: NDArray[np.int64], bound: int
    ) -> tuple[Memory, int | None]:
        p, made = self.planner, self.made
        offsets = [int(v) for v in found]
        backwards, conflict, live = [], None, []
        for index, layer in enumerate(p.layers):
            streamed = made.begin <= index < made.end
            ways = set() if streamed else {
                way(s, layer.output, offsets, self.sizes) for s in layer.slides
            } - {None}  # fmt: skip
            if len(ways) > 1:
                conflict = index
            backwards.append(ways == {True})
            times = slice(self.time[index] + 1, self.time[index] + 2)
            if streamed:
                times = slice(made.begin + 1, made.begin + 1 + len(made.order))
            tops = [
                offset + size
                for offset, size, low, high in zip(
                    offsets, self.sizes, self.low, self.high, strict=True
                )
                if size and (high[times] > low[times]).any()
            ]
            live.append(max(tops, default=0))
        memory = Memory(
            offsets[: len(p.sizes)],
            [offsets[i] for i in self.scratch],
            backwards,
            total,
            bound,
            live,
            {index: offsets[item] for index, item in self.state.items()},
        )
        return memory, conflict


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


__all__ = ["Planner", "Stream"]
