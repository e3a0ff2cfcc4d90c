"""One-node networks for every operator, in float32 and int8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tersor
from tersor._core.quantization import QParams

from .operator_truth import TRUTH, Array, Attributes

BATCH = 2
CONSTRAINTS = {row["name"]: row["constraint"] for row in tersor._core.graph.OPERATORS}


@dataclass(frozen=True)
class Case:
    """`inputs` are shapes without the batch axis, `constants` whole shapes after them."""

    op: str
    inputs: tuple[tuple[int, ...], ...]
    constants: tuple[tuple[int, ...], ...] = ()
    attributes: Attributes = field(default_factory=dict)
    kind: str = ""  # "positive": values > 0; "indices": the last operand is int64 indices

    @property
    def id(self) -> str:
        detail = [f"{k}={v}".replace(" ", "") for k, v in self.attributes.items()]
        shapes = ["x".join(map(str, s)) or "scalar" for s in (*self.inputs, *self.constants)]
        return "-".join([self.op, *shapes, *detail])

    @property
    def constraint(self) -> str:
        return str(CONSTRAINTS[self.op])


def _conv(
    x: tuple[int, ...], w: tuple[int, ...], bias: bool = True, op: str = "conv", **a: Any
) -> Case:
    rank = len(w) - 2
    groups = a.get("groups", 1)
    out = w[1] * groups if op == "conv_transpose" else w[0]
    attributes = {
        "strides": [1] * rank,
        "pads": [0] * 2 * rank,
        "dilations": [1] * rank,
        "groups": 1,
    }
    if op == "conv_transpose":
        attributes["output_padding"] = [0] * rank
    return Case(op, (x,), (w, (out,)) if bias else (w,), attributes | a)


def _pool(op: str, x: tuple[int, ...], kernel: list[int], **a: Any) -> Case:
    rank = len(kernel)
    attributes: Attributes = {
        "kernel": kernel,
        "strides": [1] * rank,
        "pads": [0] * 2 * rank,
        "ceil_mode": 0,
    }
    if op == "avg_pool":
        attributes["count_include_pad"] = 0
    return Case(op, (x,), (), attributes | a)


def _unary(op: str, **a: Any) -> Case:
    return Case(op, ((5, 7),), (), a, "positive" if op in ("log", "sqrt") else "")


CASES = [
    _conv((3, 8, 9), (5, 3, 3, 3), pads=[1, 1, 1, 1]),
    _conv((4, 7, 7), (6, 4, 1, 1), activation="relu"),
    _conv((16, 9, 8), (16, 16, 3, 3), pads=[1, 1, 1, 1], bias=False),
    _conv((4, 9, 8), (6, 2, 3, 2), groups=2, strides=[2, 1], pads=[0, 1, 1, 0], dilations=[1, 2]),
    _conv((6, 8, 8), (6, 1, 3, 3), groups=6, strides=[2, 2], pads=[0, 0, 1, 1], activation="relu6"),
    _conv((3, 11), (4, 3, 5), strides=[2], pads=[2, 2]),
    _conv((2, 4, 5, 3), (3, 2, 2, 3, 2), pads=[1, 0, 0, 0, 1, 1]),
    _conv(
        (3, 5, 4),
        (3, 4, 3, 3),
        op="conv_transpose",
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 0],
    ),
    _conv((4, 5, 5), (4, 3, 2, 2), op="conv_transpose", groups=2, strides=[2, 1], dilations=[1, 2]),
    _conv((3, 6), (3, 2, 4), op="conv_transpose", strides=[3], activation="relu"),
    Case("dense", ((13,),), ((7, 13), (7,)), {"activation": "none"}),
    Case("dense", ((3, 20),), ((33, 20),), {"activation": "relu"}),
    Case("matmul", ((3, 4, 5), (3, 5, 6)), (), {}),
    Case("matmul", ((4, 5),), ((5, 3),), {}),
    Case("batch_norm", ((4, 3, 5),), ((4,), (4,), (4,), (4,)), {"epsilon": 1e-3}, "positive"),
    Case("layer_norm", ((5, 19),), ((19,), (19,)), {"axis": -1, "epsilon": 1e-5}),
    Case("layer_norm", ((3, 4),), ((3, 4),), {"axis": 1, "epsilon": 1e-5}),
    *(
        Case(op, shapes, constants, attributes)
        for op in ("add", "sub", "mul", "div", "minimum", "maximum")
        for attributes in ({"activation": "none"} if op not in ("minimum", "maximum") else {},)
        for shapes, constants in (
            (((5, 4, 3), (5, 4, 3)), ()),
            (((5, 4, 3), (5, 1, 1)), ()),
            (((5, 4, 3), (1, 4, 1)), ()),
            (((5, 4, 3),), ((5, 1, 1),)),
            (((5, 4, 3),), ((),)),
            (((7,), (1,)), ()),
        )
    ),
    Case("add", ((37,), (37,)), (), {"activation": "relu"}),
    Case("sub", ((37,), (37,)), (), {"activation": "relu6"}),
    Case("pow", ((9,),), ((),), {}, "positive"),
    Case("pow", ((9,), (9,)), (), {}, "positive"),
    Case("prelu", ((4, 3, 5),), ((4, 1, 1),), {}),
    _unary("relu"),
    _unary("clip", min=-0.5, max=0.75),
    _unary("leaky_relu", alpha=0.2),
    _unary("elu", alpha=1.3),
    _unary("sigmoid"),
    _unary("hard_sigmoid", alpha=0.2, beta=0.4),
    _unary("hard_swish"),
    _unary("silu"),
    _unary("gelu", approximate="none"),
    _unary("gelu", approximate="tanh"),
    *(_unary(op) for op in ("tanh", "erf", "exp", "log", "sqrt", "neg", "abs", "softplus")),
    Case("softmax", ((6, 11),), (), {"axis": -1}),
    Case("softmax", ((6, 4, 3),), (), {"axis": 1}),
    Case("log_softmax", ((33,),), (), {"axis": -1}),
    _pool("max_pool", (5, 9, 8), [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _pool("max_pool", (5, 9, 8), [2, 3], strides=[2, 2], ceil_mode=1),
    _pool("max_pool", (3, 12), [4], strides=[3]),
    _pool("max_pool", (3, 4, 5, 6), [2, 2, 2]),
    _pool("avg_pool", (5, 9, 8), [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _pool("avg_pool", (5, 9, 8), [3, 3], strides=[2, 2], pads=[0, 1, 1, 1], count_include_pad=1),
    _pool(
        "avg_pool",
        (3, 7, 7),
        [3, 2],
        strides=[3, 2],
        ceil_mode=1,
        pads=[1, 0, 1, 1],
        count_include_pad=1,
    ),
    _pool("avg_pool", (600, 5, 4), [5, 4]),
    _pool("avg_pool", (3, 12), [4], strides=[3]),
    *(
        Case(op, (shape,), (), {"axes": axes, "keepdims": keep})
        for op in ("reduce_mean", "reduce_sum", "reduce_max")
        for shape, axes, keep in (
            ((5, 4, 3), [2, 3], 1),
            ((70, 4, 3), [2, 3], 0),
            ((5, 4, 3), [1], 0),
            ((5, 4, 3), [1, 3], 1),
            ((17,), [-1], 1),
        )
    ),
    Case("concat", ((3, 4, 5), (2, 4, 5), (1, 4, 5)), (), {"axis": 1}),
    Case("concat", ((3, 4), (3, 2)), (), {"axis": -1}),
    Case(
        "slice",
        ((5, 6, 7),),
        (),
        {"axes": [1, 3], "starts": [1, -6], "ends": [4, 100], "steps": [1, 2]},
    ),
    Case("slice", ((9,),), (), {"axes": [1], "starts": [2], "ends": [7], "steps": [3]}),
    Case(
        "pad",
        ((3, 4, 5),),
        (),
        {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "mode": "constant", "value": 0.25},
    ),
    Case(
        "pad",
        ((3, 4, 5),),
        (),
        {"pads": [0, 1, -1, 0, 0, 2, 1, -2], "mode": "constant", "value": 0.0},
    ),
    Case(
        "pad", ((3, 4, 5),), (), {"pads": [0, 0, 1, 2, 0, 0, 2, 3], "mode": "reflect", "value": 0.0}
    ),
    Case("pad", ((3, 4, 5),), (), {"pads": [0, 0, 1, 2, 0, 0, 2, 3], "mode": "edge", "value": 0.0}),
    Case("gather", ((6, 5),), ((4,),), {"axis": 1}, "indices"),
    Case("gather", ((6, 5),), ((2, 3),), {"axis": -1}, "indices"),
    *(
        Case(
            "resize",
            ((3, 5, 4),),
            (),
            {"sizes": sizes, "mode": mode, "coordinates": c, "nearest": n},
        )
        for mode, c, n, sizes in (
            ("nearest", "half_pixel", "round_prefer_floor", [10, 8]),
            ("nearest", "asymmetric", "floor", [10, 9]),
            ("nearest", "align_corners", "round_prefer_ceil", [7, 3]),
            ("nearest", "half_pixel", "ceil", [3, 11]),
            ("linear", "half_pixel", "floor", [10, 7]),
            ("linear", "align_corners", "floor", [9, 8]),
            ("linear", "asymmetric", "floor", [3, 9]),
            ("linear", "pytorch_half_pixel", "floor", [1, 8]),
        )
    ),
    Case("reshape", ((3, 4, 5),), (), {"shape": [-1, 20, 3]}),
    Case("reshape", ((3, 4),), (), {"shape": [-1, 12]}),
    Case("transpose", ((3, 4, 5),), (), {"perm": [0, 2, 3, 1]}),
    Case("transpose", ((40, 37),), (), {"perm": [0, 2, 1]}),
    Case("transpose", ((3, 4, 5, 6),), (), {"perm": [0, 4, 2, 1, 3]}),
    Case("expand", ((1, 4, 1),), (), {"shape": [-1, 3, 4, 5]}),
    Case("identity", ((3, 4),), (), {}),
    Case("cast", ((3, 4),), (), {"to": "int32"}),
]

# Kernels see every tail of a vector: element-wise operators once more over many sizes.
SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257]


def draw(case: Case, seed: int = 0, batch: int = BATCH) -> tuple[list[Array], list[Array]]:
    """Float32 activations (batch first) and constants; indices are int64."""
    rng = np.random.default_rng(seed)

    def values(shape: tuple[int, ...]) -> Array:
        x = rng.normal(size=shape).astype(np.float32)
        return np.abs(x) + np.float32(0.1) if case.kind == "positive" else x

    inputs = [values((batch, *s)) for s in case.inputs]
    constants = [values(s) for s in case.constants]
    if case.kind == "indices":
        n = inputs[0].shape[case.attributes["axis"]]
        constants[-1] = rng.integers(-n, n, case.constants[-1])
    return inputs, constants


def truth(case: Case, operands: list[Array]) -> Array:
    """The operator in float64 (indices stay as they are)."""
    wide = [x.astype(np.float64) for x in operands]
    return np.asarray(TRUTH[case.op](case.attributes, *wide))


def build(
    case: Case,
    inputs: list[Array],
    constants: list[Array],
    qparams: list[QParams | None] | None = None,
    output: QParams | None = None,
) -> tersor.Graph:
    """The one-node network; `qparams` of all operands in order, `output` of the result."""
    graph = tersor.Graph()
    edges = []
    for i, x in enumerate(inputs):
        edges.append(graph.add_input(f"x{i}", x.dtype.name, (None, *x.shape[1:])))
    for i, c in enumerate(constants):
        edges.append(graph.add_constant(f"c{i}", np.ascontiguousarray(c)))
    for edge, q in zip(edges, qparams or [], strict=False):
        if q is not None:
            graph.set_qparams(edge, q)
    y = graph.add_node(case.op, edges, case.attributes, "node", "y", qparams=output)
    graph.set_outputs([y])
    graph.verify()
    return graph


def per_tensor(lo: float, hi: float) -> QParams:
    """int8 parameters of a range that is widened to hold 0."""
    lo, hi = min(float(lo), 0.0), max(float(hi), 1e-3)
    scale = np.float32((hi - lo) / 255)
    return QParams(
        scale=[float(scale)], zero_point=[int(np.clip(round(-128 - lo / float(scale)), -128, 127))]
    )


def encode(x: Array, q: QParams) -> NDArray[np.int8]:
    """Codes of float values, per tensor or along axis 0 or 1."""
    scale, zero = np.asarray(q.scale, np.float64), np.asarray(q.zero_point, np.float64)
    if q.axis is not None:
        shape = [-1 if i == q.axis else 1 for i in range(x.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    codes = np.rint(x.astype(np.float64) / scale) + zero
    return np.clip(codes, q.code_min, q.code_max).astype(np.int8)


def decode(codes: Array, q: QParams) -> Array:
    """Float64 values of codes."""
    scale, zero = np.asarray(q.scale, np.float64), np.asarray(q.zero_point, np.float64)
    if q.axis is not None:
        shape = [-1 if i == q.axis else 1 for i in range(codes.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (codes.astype(np.float64) - zero) * scale


@dataclass
class Quantized:
    """An int8 one-node network with its codes and the real values that these stand for."""

    graph: tersor.Graph
    inputs: list[Array]
    operands: list[Array]  # float64, decoded
    codes: list[Array]  # of all operands
    qparams: list[QParams]
    output: QParams


def _weight_qparams(case: Case, w: Array) -> QParams:
    """Per output channel; a grouped conv_transpose, whose axis 1 is within a group, per tensor."""
    transposed = case.op == "conv_transpose"
    if transposed and case.attributes["groups"] > 1:
        return QParams(scale=[np.abs(w).max() / 127], zero_point=[0], narrow=True)
    axis = 1 if transposed else 0
    absmax = np.abs(w).max(tuple(j for j in range(w.ndim) if j != axis))
    return QParams(scale=absmax / 127, zero_point=[0] * len(absmax), narrow=True, axis=axis)


def quantized(case: Case, seed: int = 0, batch: int = BATCH) -> Quantized:
    """The int8 form of a case: weights per channel, parameters by the operator's constraint."""
    inputs, constants = draw(case, seed, batch)
    operands = [*inputs, *constants]
    affine = case.constraint == "affine"
    qparams: list[Any] = []
    if case.constraint == "same" and case.op != "gather":
        everything = (
            np.concatenate([x.ravel() for x in operands]) if batch else np.array([-2.0, 3.0])
        )
        shared = per_tensor(everything.min(), everything.max())
        qparams = [shared] * len(operands)
    for i, x in enumerate(operands[len(qparams) :], len(qparams)):
        if case.kind == "indices" and i == 1:
            qparams.append(None)
        elif affine and case.op != "matmul" and i == 1:
            qparams.append(_weight_qparams(case, x))
        elif affine and i == 2:
            scale = qparams[0].scale[0] * np.asarray(qparams[1].scale)
            axis = 0 if len(scale) > 1 else None
            qparams.append(QParams(scale=scale, zero_point=[0] * len(scale), bits=32, axis=axis))
        else:
            qparams.append(per_tensor(x.min(), x.max()) if x.size else per_tensor(-2, 3))
    codes = []
    for x, q in zip(operands, qparams, strict=True):
        if q is None:
            codes.append(x)
        elif q.bits == 32:
            codes.append(np.rint(x / np.asarray(q.scale, np.float64)).astype(np.int32))
        else:
            codes.append(encode(x, q))
    real = [c if q is None else decode(c, q) for c, q in zip(codes, qparams, strict=True)]
    if case.constraint == "same":
        output = qparams[0]
    elif case.op in ("softmax", "sigmoid"):
        output = QParams(scale=[1 / 256], zero_point=[-128])
    elif case.op == "tanh":
        output = QParams(scale=[1 / 128], zero_point=[0])
    else:
        y = truth(case, real)
        output = per_tensor(y.min(), y.max()) if y.size else per_tensor(-2, 3)
    count = len(inputs)
    graph = build(case, codes[:count], codes[count:], qparams, output)
    return Quantized(graph, codes[:count], real, codes, qparams, output)
