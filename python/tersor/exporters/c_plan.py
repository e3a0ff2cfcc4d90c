"""What the C generator works on: activations, layers, and where each lies in the arena."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..graph.memory_planner import plan_memory

if TYPE_CHECKING:
    from .c_rows import Rowwise

ALIGNMENT = 4  # wide loads of 16-bit scratch values need it
_NODE_LIMIT = 200_000


@dataclass(frozen=True)
class Activation:
    """An int8 edge as the C code sees it.

    Attributes
    ----------
    buffer : int
        Index of its memory; reshapes and transposes share it.
    shape : tuple of int
        Logical, without the batch.
    order : tuple of int
        Axes of `shape` in the order in which they lie in memory, outermost first.
    """

    name: str
    buffer: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    qparams: Any

    @property
    def size(self) -> int:
        """Number of codes."""
        return math.prod(self.shape)

    @property
    def physical(self) -> tuple[int, ...]:
        """Dimensions as they lie in memory."""
        return tuple(self.shape[a] for a in self.order)

    def lies_as(self, order: Sequence[int]) -> bool:
        """Return whether another order is the same memory: axes of length 1 move freely."""

        def long(axes: Sequence[int]) -> list[int]:
            return [a for a in axes if self.shape[a] != 1]

        return long(self.order) == long(order)

    @property
    def zero_point(self) -> int:
        """Code of zero."""
        return int(self.qparams.zero_point[0])

    @property
    def scale(self) -> float:
        """Value of one step."""
        return float(self.qparams.scale[0])


@dataclass(frozen=True)
class Constant:
    """A table in flash."""

    name: str
    values: NDArray[Any]
    aligned: bool = False


@dataclass(frozen=True)
class Slide:
    """How far an output must stay from an input that dies in its layer, in bytes.

    Attributes
    ----------
    source : int
        Buffer of the input.
    forwards : int or None
        The input may start this far above the output, written from its first position on.
    backwards : int or None
        The output may start this far above the input, written from its last position back.
    """

    source: int
    forwards: int | None
    backwards: int | None


@dataclass
class Layer:
    """One function of the generated file.

    Attributes
    ----------
    body : callable
        ``body(address, backwards)`` gives the statements; ``address(buffer)`` is the text of a
        pointer, ``address(-1)`` that of the layer's scratch memory.
    rows : Rowwise, optional
        How it computes row by row; None where it needs its inputs whole.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    output: int
    body: Callable[[Callable[[int], str], bool], list[str]]
    constants: list[Constant] = field(default_factory=list)
    macs: int = 0
    scratch: int = 0
    slides: list[Slide] = field(default_factory=list)
    rows: Rowwise | None = None

    @property
    def flash_bytes(self) -> int:
        """Bytes of its constants."""
        return sum(c.values.nbytes for c in self.constants)

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights, and of their codebook: without biases and multipliers."""
        wanted = ("weights", "codebook", "blocks")
        return sum(c.values.nbytes for c in self.constants if c.name in wanted)


@dataclass(frozen=True)
class Memory:
    """Offsets of buffers and scratch memory in the arena, bytes."""

    offsets: list[int]
    scratch: list[int]
    backwards: list[bool]
    total: int
    lower_bound: int
    live: list[int]  # bytes alive in each layer, less what overlaps
    state: dict[int, int] = field(default_factory=dict)  # what layers keep from row to row


def plan(
    layers: Sequence[Layer], sizes: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]
) -> Memory:
    """Place all buffers, as low as possible.

    Parameters
    ----------
    layers : sequence of Layer
    sizes : sequence of int
        Bytes of each buffer.
    inputs, outputs : sequence of int
        Buffers that are filled before the first layer and read after the last.

    Returns
    -------
    Memory
    """
    both = [True] * len(layers)
    while True:
        memory, conflict = _attempt(layers, sizes, inputs, outputs, both)
        if conflict is None:
            return memory
        both[conflict] = False


def _attempt(
    layers: Sequence[Layer],
    sizes: Sequence[int],
    inputs: Sequence[int],
    outputs: Sequence[int],
    both: Sequence[bool],
) -> tuple[Memory, int | None]:
    """Return a plan, and a layer that would have to run in both directions at once."""
    count = len(sizes)
    first = [len(layers) + 1] * count
    last = [0] * count
    for buffer in inputs:
        first[buffer] = 0
    for step, layer in enumerate(layers, 1):
        first[layer.output] = min(first[layer.output], step)
        for buffer in (*layer.inputs, layer.output):
            last[buffer] = max(last[buffer], step)
    for buffer in outputs:
        last[buffer] = len(layers) + 1
    requests = [(size, min(a, b), b) for size, a, b in zip(sizes, first, last, strict=True)]
    requests += [(layer.scratch, step, step) for step, layer in enumerate(layers, 1)]
    overlaps = []
    for step, layer in enumerate(layers, 1):
        for s in layer.slides:
            if last[s.source] != step or s.source in outputs:
                continue
            if s.forwards is not None:
                overlaps.append((layer.output, s.source, s.forwards))
            if s.backwards is not None and both[step - 1]:
                overlaps.append((s.source, layer.output, s.backwards))
    found = plan_memory(requests, alignment=ALIGNMENT, overlaps=overlaps, node_limit=_NODE_LIMIT)
    offsets = list(found.offsets)
    backwards, conflict = [], None
    for step, layer in enumerate(layers):
        ways = {way(s, layer.output, offsets, sizes) for s in layer.slides} - {None}
        if len(ways) > 1:
            conflict = step
        backwards.append(ways == {True})
    live = []
    for step in range(1, len(layers) + 1):
        spans = sorted(
            (offset, offset + size)
            for (size, a, b), offset in zip(requests, offsets, strict=True)
            if a <= step <= b and size
        )
        live.append(max((end for _, end in spans), default=0))
    memory = Memory(
        offsets[:count],
        offsets[count:],
        backwards,
        int(found.total_bytes),
        int(found.lower_bound_bytes),
        live,
    )
    return memory, conflict


def way(slide: Slide, output: int, offsets: list[int], sizes: Sequence[int]) -> bool | None:
    """Return the direction that the placement asks for: True is backwards, None is either."""
    x, y = offsets[slide.source], offsets[output]
    if x + sizes[slide.source] <= y or y + sizes[output] <= x:
        return None
    if slide.forwards is not None and x >= y + slide.forwards:
        # In place: either direction of an operator that goes through both alike.
        if slide.backwards is not None and y >= x + slide.backwards:
            return None
        return False
    return True


def window_slide(
    source: int,
    x: tuple[int, int, int],
    y: tuple[int, int, int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    *,
    positions: int = 1,
    by_channel: bool = False,
) -> Slide:
    """Distances for an operator that moves a window over its input.

    Parameters
    ----------
    source : int
        Buffer of the input.
    x, y : tuple of int
        Height, width, channels of input and output.
    rows, columns : ndarray of int64, shape (outputs, 2)
        First and last (exclusive) input row and column of each output row and column, cut to the
        input.
    positions : int, default 1
        Output positions whose windows are read before any of them is written.
    by_channel : bool, default False
        Whether channels are written one by one, before the next is read.

    Returns
    -------
    Slide
    """
    _, width, channels = x
    low = (rows[:, :1] * width + columns[None, :, 0]) * channels
    high = ((rows[:, 1:] - 1) * width + columns[None, :, 1]) * channels
    empty = (rows[:, 1:] <= rows[:, :1]) | (columns[None, :, 1] <= columns[None, :, 0])
    low = np.where(empty, np.iinfo(np.int64).max // 2, low).ravel()
    high = np.where(empty, 0, high).ravel()
    at = np.arange(low.size, dtype=np.int64) * y[2]
    end = at + y[2]
    forwards, backwards = [0], [0]
    # Forwards: what the positions from the next step on read lies above all that was written.
    later = np.minimum.accumulate(low[::-1])[::-1]
    stops = np.arange(positions, low.size, positions)
    forwards += list(end[stops - 1] - later[stops])
    # Backwards: steps start at the last position.
    earlier = np.maximum.accumulate(high)
    stops = np.arange(low.size - positions, 0, -positions)
    backwards += list(earlier[stops - 1] - at[stops])
    if by_channel:
        used = ~empty.ravel()
        forwards += list((at - low)[used])
        backwards += list((high - at)[used])
    return Slide(source, int(max(forwards)), int(max(backwards)))


def window_ranges(
    outputs: int, size: int, kernel: int, stride: int, pad: int, dilation: int = 1
) -> NDArray[np.int64]:
    """First and last (exclusive) input index of each output index, cut to the input."""
    begin = np.arange(outputs, dtype=np.int64) * stride - pad
    taps = begin[:, None] + np.arange(kernel, dtype=np.int64) * dilation
    inside = (taps >= 0) & (taps < size)
    low = np.where(inside, taps, size).min(1)
    high = np.where(inside, taps, -1).max(1) + 1
    return np.stack([np.minimum(low, high), high], 1)


__all__ = [
    "ALIGNMENT",
    "Activation",
    "Constant",
    "Layer",
    "Memory",
    "Slide",
    "plan",
    "way",
    "window_ranges",
    "window_slide",
]
