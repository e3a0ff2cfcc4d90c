"""The operators of generated C that move codes: each turns one node into copies, or into none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .c_plan import Activation, Layer
from .c_rows import Place, Rowwise, each, read, shape_of
from .c_select import lower_move

if TYPE_CHECKING:
    from .c_lower import Lowering


def axes_of(node: Any, rank: int) -> list[int]:
    """Axes of a node, without the batch."""
    values = node.attributes["axes"] if "axes" in node.attributes else [node.attributes["axis"]]
    return [int(v) % (rank + 1) - 1 for v in values]


def _box(
    size: Sequence[int], source: Sequence[int], target: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Merge dimensions that lie in one piece in both, to five; the last one changes fastest."""
    merged: list[list[int]] = []
    for n, a, b in zip(size, source, target, strict=True):
        if n == 1:
            continue
        if merged and merged[-1][1] == n * a and merged[-1][2] == n * b:
            merged[-1] = [merged[-1][0] * n, a, b]
        else:
            merged.append([n, a, b])
    if len(merged) > 5:
        raise ValueError(f"copy of {len(merged)} dimensions, at most 5")
    merged = [[1, 0, 0]] * (5 - len(merged)) + merged
    return [m[0] for m in merged], [m[1] for m in merged], [m[2] for m in merged]


def _strides(shape: Sequence[int]) -> list[int]:
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return strides


def _copy_text(
    name: str, size: Sequence[int], source: Sequence[int], target: Sequence[int]
) -> list[str]:
    parts = ("{" + ", ".join(map(str, part)) + "}" for part in _box(size, source, target))
    return [
        f"static const tersor_box {name} = {{{', '.join(parts)}}};",
        f"tersor_copy(&{name}, {{x}}, {{y}});",
    ]


def reordered(walk: Lowering, x: Activation, order: tuple[int, ...]) -> Activation:
    """Copy an activation into another order."""
    buffer = walk.new_buffer(x.size)
    y = Activation(x.name, buffer, x.shape, order, x.qparams)
    strides = dict(zip(x.order, _strides(x.physical), strict=True))
    text = _copy_text("b", y.physical, [strides[a] for a in order], _strides(y.physical))
    walk.add(
        Layer(
            f"{x.name} reorder", "transpose", (x.buffer,), buffer,
            lambda at, _: [t.format(x=at(x.buffer), y=at(buffer)) if "(" in t else t for t in text],
        )
    )  # fmt: skip
    return y


def spread(
    walk: Lowering, x: Activation, steps: Sequence[int], ends: Sequence[tuple[int, int]]
) -> Activation:
    """Copy an activation with zeros between the places of its spatial axes, and around them.

    Parameters
    ----------
    walk : Lowering
    x : Activation
        Of axes channels, then one or two spatial ones.
    steps : sequence of int
        From place to place in the output.
    ends : sequence of (int, int)
        Zeros before the first and behind the last place.

    Returns
    -------
    Activation
    """
    sizes = [
        before + (size - 1) * step + 1 + after
        for size, step, (before, after) in zip(x.shape[1:], steps, ends, strict=True)
    ]
    shape = (x.shape[0], *sizes)
    y = Activation(x.name, walk.new_buffer(math.prod(shape)), shape, x.order, x.qparams)
    strides = dict(zip(y.order, _strides(y.physical), strict=True))
    offset = sum(before * strides[a + 1] for a, (before, _) in enumerate(ends))
    target = [strides[a] * (1 if a == 0 else steps[a - 1]) for a in x.order]
    text = _copy_text("b", x.physical, _strides(x.physical), target)
    walk.add(
        Layer(
            f"{x.name} spread", "pad", (x.buffer,), y.buffer,
            lambda at, _: [
                *_placed(text[:1], "", ""),
                f"memset({at(y.buffer)}, {x.zero_point}, {y.size});",
                *_placed(text[1:], at(x.buffer), f"{at(y.buffer)} + {offset}"),
            ],
        )
    )  # fmt: skip
    return y


def lower_transpose(walk: Lowering, index: int) -> None:
    """Name the axes anew; nothing moves."""
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    perm = [int(p) for p in node.attributes["perm"]]
    if perm[0] != 0:
        raise walk.refusal(index, f"cannot move the batch, got perm {perm}")
    axes = [p - 1 for p in perm[1:]]
    walk.define(node.outputs[0], [axes.index(a) for a in x.order], x.buffer)


def lower_reshape(walk: Lowering, index: int) -> None:
    """Bring an input into plain order, and name its axes anew."""
    node = walk.nodes[index]
    x = walk.ordered(node.inputs[0], range(len(walk.known[node.inputs[0]].shape)))
    rank = len(walk.edges[node.outputs[0]].shape) - 1
    walk.define(node.outputs[0], range(rank), x.buffer)


def lower_identity(walk: Lowering, index: int) -> None:
    """Give an input another name."""
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    walk.define(node.outputs[0], x.order, x.buffer)


def lower_slice(walk: Lowering, index: int) -> None:
    """Copy a part."""
    node = walk.nodes[index]
    x = walk.activation(node.inputs[0])
    y = walk.define(node.outputs[0], x.order)
    strides = dict(zip(x.order, _strides(x.physical), strict=True))
    starts, steps = (dict.fromkeys(range(len(x.shape)), i) for i in (0, 1))
    a = node.attributes
    for axis, start, step in zip(axes_of(node, len(x.shape)), a["starts"], a["steps"], strict=True):
        if axis < 0:
            raise walk.refusal(index, "cannot cut the batch")
        size = x.shape[axis]
        first = int(start) + size if int(start) < 0 else int(start)
        starts[axis] = min(max(first, 0), size if int(step) > 0 else size - 1)
        steps[axis] = int(step)
    offset = sum(starts[a] * strides[a] for a in x.order)
    source = [strides[i] * steps[i] for i in y.order]
    text = _copy_text("b", y.physical, source, _strides(y.physical))
    high, row_bytes = shape_of(y)
    start, step = starts[x.order[0]], steps[x.order[0]]
    inside = offset - start * strides[x.order[0]]
    row_text = _copy_text("b", y.physical[1:], source[1:], _strides(y.physical)[1:])
    rows = Rowwise(
        (read(x, each(high, start, step)),), high, row_bytes,
        lambda place: _placed(
            row_text,
            f"{place.row(x.buffer, f'{start} + r * {step}', strides[x.order[0]])} + {inside}", "y",
        ),
    )  # fmt: skip
    _move(
        walk, index, [x], y,
        lambda at: _placed(text, f"{at(x.buffer)} + {offset}", at(y.buffer)), rows,
    )  # fmt: skip


def lower_pad(walk: Lowering, index: int) -> None:
    """Copy into the middle of a value."""
    node = walk.nodes[index]
    if node.attributes["mode"] != "constant":
        lower_move(walk, index)
        return
    x = walk.activation(node.inputs[0])
    y = walk.define(node.outputs[0], x.order)
    pads = [int(p) for p in node.attributes["pads"]]
    before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if before[0] or after[0] or min(pads) < 0:
        raise walk.refusal(index, f"pads must be positive and leave the batch alone, got {pads}")
    value = float(np.rint(float(node.attributes["value"]) / y.scale)) + y.zero_point
    code = int(min(max(value, -128), 127))
    strides = dict(zip(y.order, _strides(y.physical), strict=True))
    offset = sum(before[a + 1] * strides[a] for a in range(len(x.shape)))
    text = _copy_text("b", x.physical, _strides(x.physical), [strides[a] for a in x.order])
    _move(
        walk, index, [x], y,
        lambda at: [
            *_placed(text[:1], "", ""),
            f"memset({at(y.buffer)}, {code}, {y.size});",
            *_placed(text[1:], at(x.buffer), f"{at(y.buffer)} + {offset}"),
        ],
        _pad_rows(x, y, code, before[x.order[0] + 1], offset),
    )  # fmt: skip


def _pad_rows(x: Activation, y: Activation, code: int, above: int, offset: int) -> Rowwise:
    """Rows of padding, and those of the input between what stands beside them."""
    (rows, row_bytes), (held, held_bytes) = shape_of(y), shape_of(x)
    ranges = np.clip(each(rows, -above), 0, held)
    text = _copy_text("b", x.physical[1:], _strides(x.physical)[1:], _strides(y.physical)[1:])

    def row(place: Place) -> list[str]:
        source = place.row(x.buffer, f"r - {above}", held_bytes)
        head, copy = _placed(text, source, f"y + {offset - above * row_bytes}")
        inside = f"if (r >= {above} && r < {above + held}) {copy}"
        return [head, f"memset(y, {code}, {row_bytes});", inside]

    return Rowwise((read(x, ranges),), rows, row_bytes, row)


def lower_concat(walk: Lowering, index: int) -> None:
    """Copy side by side."""
    node = walk.nodes[index]
    if any(walk.edges[e].is_constant for e in node.inputs):
        raise walk.refusal(index, "the C kernel joins activations only, got a constant")
    order = walk.activation(node.inputs[0]).order
    parts = [walk.ordered(e, order) for e in node.inputs]
    y = walk.define(node.outputs[0], order)
    axis = int(node.attributes["axis"]) % (len(y.shape) + 1) - 1
    strides = dict(zip(y.order, _strides(y.physical), strict=True))
    texts, offset = [], 0
    for i, part in enumerate(parts):
        target = [strides[a] for a in part.order]
        texts.append((_copy_text(f"b{i}", part.physical, _strides(part.physical), target), offset))
        offset += part.shape[axis] * strides[axis]

    def body(at: Callable[[int], str]) -> list[str]:
        heads = [line for text, _ in texts for line in _placed(text[:1], "", "")]
        calls = [
            line
            for part, (text, offset) in zip(parts, texts, strict=True)
            for line in _placed(text[1:], at(part.buffer), f"{at(y.buffer)} + {offset}")
        ]
        return heads + calls

    high, row_bytes = shape_of(y)

    def row(place: Place) -> list[str]:
        heads, calls = [], []
        for i, (part, (_, offset)) in enumerate(zip(parts, texts, strict=True)):
            sources, targets = _strides(part.physical)[1:], [strides[a] for a in part.order[1:]]
            head, call = _placed(
                _copy_text(f"b{i}", part.physical[1:], sources, targets),
                place.row(part.buffer, "r", shape_of(part)[1]), f"y + {offset}",
            )  # fmt: skip
            heads.append(head)
            calls.append(call)
        return heads + calls

    rows = None
    if axis != order[0]:
        rows = Rowwise(tuple(read(part, each(high)) for part in parts), high, row_bytes, row)
    _move(walk, index, parts, y, body, rows)


def _placed(text: Sequence[str], x: str, y: str) -> list[str]:
    return [t.replace("{x}", x).replace("{y}", y) for t in text]


def _move(
    walk: Lowering,
    index: int,
    parts: Sequence[Activation],
    y: Activation,
    body: Callable[[Callable[[int], str]], list[str]],
    rows: Rowwise | None,
) -> None:
    node = walk.nodes[index]
    sources = tuple(part.buffer for part in parts)
    layer = Layer(node.name, node.op, sources, y.buffer, lambda at, _: body(at))
    layer.rows = rows if rows is not None and rows.rows > 1 else None
    walk.add(layer)


__all__ = [
    "axes_of",
    "lower_concat",
    "lower_identity",
    "lower_pad",
    "lower_reshape",
    "lower_slice",
    "lower_transpose",
    "reordered",
    "spread",
]
