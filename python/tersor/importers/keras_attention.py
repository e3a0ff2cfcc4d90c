"""Keras's MultiHeadAttention written out: dense, matmul, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .keras_builder import KerasBuilder, Tensor, value_of


def _project(b: KerasBuilder, layer: Any, x: int, scale: float = 1.0) -> int:
    """[N, time, width] to [N, heads, time, size]; kernel [width, heads, size]."""
    _, heads, size = value_of(layer.kernel).shape
    edges = [x, b.weight(layer.kernel, lambda k: scale * k.reshape(k.shape[0], -1).T)]
    if layer.bias is not None:
        edges.append(b.weight(layer.bias, lambda v: scale * v.reshape(-1)))
    time = b.shape(x)[1]
    y = b.node("reshape", [b.node("dense", edges)], {"shape": [-1, time, heads, size]})
    return b.node("transpose", [y], {"perm": [0, 2, 1, 3]})


def multi_head_attention(
    b: KerasBuilder,
    layer: Any,
    query: Tensor,
    value: Tensor,
    key: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """softmax(q k^T / sqrt(size)) v over axis 1 of [N, time, width]."""
    given = sorted(
        k
        for k, v in options.items()
        if k not in ("training", "use_causal_mask") and v not in (None, False)
    )
    if given or query.rank != 3:
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} is supported on [N, time, width] without "
            f"{given or 'masks'}"
        )
    key = value if key is None else key
    size = int(layer.key_dim)
    q = _project(b, layer._query_dense, b.source_order(query), size**-0.5)
    k = _project(b, layer._key_dense, b.source_order(key))
    v = _project(b, layer._value_dense, b.source_order(value))
    scores = b.node("matmul", [q, b.node("transpose", [k], {"perm": [0, 1, 3, 2]})])
    if options.get("use_causal_mask"):
        rows, columns = query.shape[1], key.shape[1]
        mask = np.triu(np.full((rows, columns), -1e9, np.float32), 1)
        scores = b.node("add", [scores, b.constant(mask, "causal_mask")])
    mixed = b.node("matmul", [b.node("softmax", [scores], {"axis": -1}), v])
    mixed = b.node("transpose", [mixed], {"perm": [0, 2, 1, 3]})
    _, time, heads, width = b.shape(mixed)
    mixed = b.node("reshape", [mixed], {"shape": [-1, time, heads * width]})
    output = layer._output_dense
    edges = [mixed, b.weight(output.kernel, lambda w: w.reshape(-1, w.shape[-1]).T)]
    if output.bias is not None:
        edges.append(b.weight(output.bias))
    return b.tensor(b.node("dense", edges))


__all__ = ["multi_head_attention"]
