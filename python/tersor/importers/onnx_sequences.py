"""Sequences of tensors in ONNX, which torch.split and torch.chunk leave behind."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .onnx_elementwise import as_value
from .onnx_folding import axis_of
from .onnx_node import OnnxNode
from .onnx_shaping import apply_slice
from .values import SampleBuilder, Value

_MOST_PARTS = 1 << 16  # of a sequence: more is hostile, not a network


@dataclass
class Parts:
    """A sequence of parts of a tensor, which are cut where one of them is taken."""

    x: Value
    axis: int
    sizes: list[int]
    keepdims: bool

    def part(self, b: SampleBuilder, node: OnnxNode) -> Value:
        """What SequenceAt gives."""
        position = node.array(1)
        count = len(self.sizes)
        if position is None or position.size != 1 or not -count <= int(position.item()) < count:
            raise ImportFormatError(f"{node}: position must be one of {count} parts")
        index = int(position.item()) % count
        start = sum(self.sizes[:index])
        cut = (self.axis, start, start + self.sizes[index], 1)
        y = apply_slice(b, self.x, [cut], str(node), node.name, node.outputs[0])
        if self.keepdims:
            return y
        batch = y.batch
        if batch is not None and batch.axis > self.axis:
            batch = batch.at(batch.axis - 1)
        shape = (*y.shape[: self.axis], *y.shape[self.axis + 1 :])
        return b.reshaped(y, shape, batch, node.outputs[0])


def split_to_parts(node: OnnxNode) -> Parts:
    """ONNX SplitToSequence (torch.split and torch.chunk)."""
    x = as_value(node.operand(0), str(node))
    axis = axis_of(node.integer("axis", 0), len(x.shape), str(node))
    size = x.shape[axis]
    split = node.array(1)
    if size > _MOST_PARTS:
        raise UnsupportedError(f"{node}: an axis of {size} is too long to be split")
    if split is None:
        return Parts(x, axis, [1] * size, bool(node.integer("keepdims", 1)))
    if split.ndim:
        sizes = [int(v) for v in split.reshape(-1)]
        if sum(sizes) != size or min(sizes, default=0) < 0:
            raise ImportFormatError(f"{node}: cannot split {size} into {sizes}")
        return Parts(x, axis, sizes, True)
    part = int(split)
    if part < 1:
        raise ImportFormatError(f"{node}: parts must have a size of at least 1, got {part}")
    return Parts(x, axis, [min(part, size - i) for i in range(0, size, part)], True)


__all__ = ["Parts", "split_to_parts"]
