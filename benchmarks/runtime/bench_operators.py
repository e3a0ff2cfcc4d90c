"""Operators other than convolutions and dense layers, as one-node networks: tersor, PyTorch.

Through them run the kernels elementwise_float32, elementwise_codes, rows_float32 and pool_window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import Case, main
from tersor._core.quantization import QParams

Array = np.ndarray[Any, Any]
CODES = QParams(scale=[0.05], zero_point=[3])
WIDER = QParams(scale=[0.11], zero_point=[-5])
# MobileNet's and ResNet's larger feature maps, channels first.
MAP = (64, 56, 56)


def network(
    op: str, inputs: list[Array], attributes: dict[str, Any], output: QParams | None = None
) -> tersor.Graph:
    """One node fed by `inputs`; int8 ones are quantized by CODES."""
    graph = tersor.Graph()
    edges = []
    for i, x in enumerate(inputs):
        edges.append(graph.add_input(f"x{i}", x.dtype.name, (None, *x.shape[1:])))
        if x.dtype == np.int8:
            graph.set_qparams(edges[-1], CODES)
    graph.set_outputs([graph.add_node(op, edges, attributes, "node", "y", qparams=output)])
    return graph


def contenders(
    op: str, inputs: list[Array], attributes: dict[str, Any], output: QParams | None = None
) -> dict[str, Callable[[], Any]]:
    """The session call, fast and exact where codes are in play, and the reference provider."""
    graph = network(op, inputs, attributes, output)
    fast = tersor.Session(graph)
    out: dict[str, Callable[[], Any]] = {"tersor": lambda: fast(*inputs)}
    if inputs[0].dtype == np.int8:
        exact = tersor.Session(graph, arithmetic="exact")
        out["tersor exact"] = lambda: exact(*inputs)
    reference = tersor.Session(graph, provider="reference")
    out["reference"] = lambda: reference(*inputs)
    return out


def float_cases(rng: np.random.Generator) -> Iterator[tuple[str, list[Array], dict[str, Any], Any]]:
    """(operator, inputs, attributes, the same in PyTorch)."""
    import torch
    from torch.nn import functional as F

    def values(*shape: int) -> Array:
        return rng.normal(size=(1, *shape)).astype(np.float32)

    x, y, s = values(*MAP), values(*MAP), values(MAP[0], 1, 1)
    plain = {"activation": "none"}
    yield "add", [x, y], plain, torch.add
    yield "mul", [x, s], plain, torch.mul
    unary = {
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "hard_swish": F.hardswish,
        "tanh": torch.tanh,
        "exp": torch.exp,
        "softplus": F.softplus,
    }
    for op, function in unary.items():
        yield op, [x], {}, function
    yield "gelu", [x], {"approximate": "none"}, F.gelu
    window = {"kernel": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield "max_pool", [values(64, 112, 112)], window, lambda v: F.max_pool2d(v, 3, 2, 1)
    whole = {"axes": [2, 3], "keepdims": 1}
    yield "reduce_mean", [values(1280, 7, 7)], whole, lambda v: v.mean((2, 3), keepdim=True)
    yield "softmax", [values(4, 128, 128)], {"axis": -1}, lambda v: v.softmax(-1)
    yield (
        "transpose",
        [values(128, 4, 64)],
        {"perm": [0, 2, 1, 3]},
        lambda v: v.permute(0, 2, 1, 3).contiguous(),
    )
    yield (
        "concat",
        [values(128, 28, 28), values(32, 28, 28)],
        {"axis": 1},
        lambda a, b: torch.cat([a, b], 1),
    )


def code_cases(
    rng: np.random.Generator,
) -> Iterator[tuple[str, list[Array], dict[str, Any], QParams]]:
    """(operator, int8 inputs, attributes, parameters of the output)."""

    def codes(*shape: int) -> Array:
        return rng.integers(-128, 128, (1, *shape), dtype=np.int8)

    plain = {"activation": "none"}
    yield "add", [codes(*MAP), codes(*MAP)], plain, WIDER
    yield "mul", [codes(*MAP), codes(MAP[0], 1, 1)], plain, WIDER
    yield "hard_swish", [codes(*MAP)], {}, WIDER
    yield "requantize", [codes(*MAP)], {}, WIDER
    window = {"kernel": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield "max_pool", [codes(64, 112, 112)], window, CODES
    yield "avg_pool", [codes(1280, 7, 7)], {"kernel": [7, 7]}, CODES
    yield "reduce_mean", [codes(1280, 7, 7)], {"axes": [2, 3], "keepdims": 1}, WIDER


def cases() -> Iterator[Case]:
    """Feature maps of 64 x 56 x 56 and the usual pools, attention scores, heads."""
    rng = np.random.default_rng(0)
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        torch = None
    if torch is not None:
        for op, inputs, attributes, function in float_cases(rng):
            entries = contenders(op, inputs, attributes)
            tensors = [torch.from_numpy(x) for x in inputs]
            entries["torch"] = lambda f=function, t=tensors: f(*t)
            moved = 4 * (sum(x.size for x in inputs) + max(x.size for x in inputs))
            yield Case(op, {"shapes": [x.shape for x in inputs]}, entries, bytes=moved)
    for op, inputs, attributes, output in code_cases(rng):
        entries = contenders(op, inputs, attributes, output)
        moved = sum(x.size for x in inputs) + max(x.size for x in inputs)
        sizes = {"shapes": [x.shape for x in inputs], "dtype": "int8"}
        yield Case(op, sizes, entries, bytes=moved)


if __name__ == "__main__":
    main(__doc__, cases)
