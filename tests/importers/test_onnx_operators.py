"""Single ONNX operators and small patterns: conversion and session against ONNX Runtime."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tersor

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tersor.importers.onnx import from_onnx  # noqa: E402
from tests import graph_in_torch  # noqa: E402

RNG = np.random.default_rng(0)


def floats(*shape, low=None):
    x = RNG.normal(size=shape)
    return (x if low is None else np.abs(x) + low).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def one(op, *constants, outputs=1, **attributes):
    """(nodes, constants) of y = op(x, constants...); None skips an optional input."""
    names = ["x"] + ["" if c is None else f"c{i}" for i, c in enumerate(constants)]
    outs = ["y"] if outputs == 1 else [f"y{i}" for i in range(outputs)]
    return [helper.make_node(op, names, outs, op.lower(), **attributes)], {
        f"c{i}": c for i, c in enumerate(constants) if c is not None
    }


def model_of(nodes, constants, shapes, outputs, opset=17, batch="N"):
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, *s])
            for n, s in shapes.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def check(nodes, constants, shapes, opset=17, low=None, batch="N", rows=3, tolerance=2e-6):
    """Import at an open batch, run `rows` rows, compare; returns the graph."""
    used = {i for n in nodes for i in n.input}
    outputs = [o for n in nodes for o in n.output if o not in used]
    model = model_of(nodes, constants, shapes, outputs, opset, batch)
    inputs = [floats(rows, *s, low=low) for s in shapes.values()]
    data = model.SerializeToString()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        runtime = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in runtime.get_inputs()]
    if batch == "N":
        expected = runtime.run(None, dict(zip(names, inputs, strict=True)))
    else:  # fixed at one: row by row
        runs = [
            runtime.run(None, {n: x[i : i + 1] for n, x in zip(names, inputs, strict=True)})
            for i in range(rows)
        ]
        expected = [np.concatenate(r) for r in zip(*runs, strict=True)]
    graph = from_onnx(model)
    assert [e.name for e in graph.outputs] == outputs
    session = tersor.Session(graph)(*inputs)
    session = session if isinstance(session, (list, tuple)) else [session]
    for results in (session, graph_in_torch.evaluate(graph, *inputs)):
        for a, b in zip(results, expected, strict=True):
            assert a.shape == b.shape
            scale = max(1, np.abs(b[np.isfinite(b)]).max())
            np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance * scale)
    return graph


UNARY = [
    one(op)
    for op in (
        "Relu",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Exp",
        "Neg",
        "Abs",
        "Softplus",
        "HardSwish",
        "Identity",
    )
]
UNARY += [
    one("Elu", alpha=0.7),
    one("LeakyRelu", alpha=0.2),
    one("HardSigmoid"),
    one("HardSigmoid", alpha=0.1, beta=0.3),
    one("Clip", np.float32(-0.5), np.float32(0.5)),
    one("Clip", None, np.float32(0.3)),
    one("Clip", np.float32(0)),
    one("PRelu", floats(4, 1, 1)),
    one("Softmax"),
    one("Softmax", axis=1),
    one("LogSoftmax", axis=2),
]


@pytest.mark.parametrize("case", UNARY, ids=lambda c: c[0][0].op_type)
def test_unary(case):
    check(*case, {"x": (4, 5, 6)})


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal"])
def test_positive(op):
    check(*one(op), {"x": (4, 5)}, low=0.3)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate):
    check(*one("Gelu", approximate=approximate), {"x": (4, 5)}, opset=20, tolerance=1e-5)


def test_mish():
    check(*one("Mish"), {"x": (4, 5)}, opset=18)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (5, 1), (4, 1, 1), (1, 4, 5, 6), (4, 5, 6)])
def test_binary_with_a_constant(op, shape):
    check(*one(op, floats(*shape, low=0.5)), {"x": (4, 5, 6)}, low=0.5)


@pytest.mark.parametrize("op", ["Sub", "Div", "Pow"])
def test_constant_on_the_left(op):
    check(
        [helper.make_node(op, ["c", "x"], ["y"], "n")],
        {"c": floats(4, 1, low=0.5)},
        {"x": (4, 5)},
        low=0.5,
    )


@pytest.mark.parametrize(
    "shapes", [((4, 5, 6), (4, 5, 6)), ((4, 5, 6), (4, 1, 1)), ((1, 6), (4, 1))]
)
def test_binary_of_two_inputs(shapes):
    check(
        [helper.make_node("Sub", ["a", "b"], ["y"], "n")], {}, dict(zip("ab", shapes, strict=True))
    )


def test_variadic():
    names = {"a": (4,), "b": (4,), "c": (4,)}
    for op in ("Sum", "Max", "Min", "Mean"):
        check([helper.make_node(op, list(names), ["y"], "n")], {}, names)


CONVOLUTIONS = [
    ({"kernel_shape": [3, 3]}, 1),
    ({"pads": [1, 0, 2, 1], "strides": [2, 1]}, 1),
    ({"dilations": [2, 1]}, 1),
    ({"group": 2}, 2),
    ({"auto_pad": "SAME_UPPER", "strides": [2, 3]}, 1),
    ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 1),
    ({"auto_pad": "VALID"}, 1),
]


@pytest.mark.parametrize(("attributes", "groups"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(attributes, groups, bias):
    weights = [floats(6, 4 // groups, 3, 3)] + ([floats(6)] if bias else [])
    check(*one("Conv", *weights, **attributes), {"x": (4, 9, 8)}, tolerance=1e-5)


def test_depthwise_and_other_ranks():
    check(
        *one("Conv", floats(8, 1, 5, 5), floats(8), group=4, pads=[2, 2, 2, 2]),
        {"x": (4, 9, 8)},
        tolerance=1e-5,
    )
    check(*one("Conv", floats(6, 4, 3), strides=[2], pads=[1, 1]), {"x": (4, 15)}, tolerance=1e-5)
    check(*one("Conv", floats(2, 3, 2, 2, 2)), {"x": (3, 4, 5, 6)}, tolerance=1e-5)


TRANSPOSED = [
    {},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"strides": [2, 3], "group": 2},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "output_shape": [11, 12]},
    {"dilations": [2, 1]},
]


@pytest.mark.parametrize("attributes", TRANSPOSED)
def test_conv_transpose(attributes):
    w = floats(4, 3, 3, 3)
    check(
        *one("ConvTranspose", w, floats(3 * attributes.get("group", 1)), **attributes),
        {"x": (4, 5, 6)},
        tolerance=1e-5,
    )


POOLS = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("attributes", POOLS)
def test_pools(attributes):
    check(*one("MaxPool", **attributes), {"x": (3, 8, 9)})
    check(*one("AveragePool", **attributes), {"x": (3, 8, 9)})
    if "auto_pad" not in attributes:
        check(*one("AveragePool", count_include_pad=1, **attributes), {"x": (3, 8, 9)})


def test_global_pools():
    check(*one("GlobalAveragePool"), {"x": (3, 8, 9)})
    check(*one("GlobalMaxPool"), {"x": (3, 8, 9)})


@pytest.mark.parametrize(("axes", "keepdims"), [([1], 0), ([2, 3], 1), ([-1], 0), ([1, 3], 0)])
def test_reductions(axes, keepdims):
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"):
        check(*one(op, axes=axes, keepdims=keepdims), {"x": (3, 4, 5)})
    check(*one("ReduceSum", ints(*axes), keepdims=keepdims), {"x": (3, 4, 5)})
    check(*one("ReduceMean", ints(*axes), keepdims=keepdims), {"x": (3, 4, 5)}, opset=18)


@pytest.mark.parametrize(
    "attributes", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0, "transB": 1}]
)
def test_gemm(attributes):
    w = floats(7, 5) if "transB" in attributes else floats(5, 7)
    for bias in ((), (floats(7),), (floats(1, 7),), (floats(1),)):
        check(*one("Gemm", w, *bias, **attributes), {"x": (5,)}, tolerance=1e-5)


def test_matmul():
    check(*one("MatMul", floats(6, 7)), {"x": (6,)}, tolerance=1e-5)
    check(*one("MatMul", floats(6, 7)), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(*one("MatMul", floats(4, 6, 7)), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(*one("MatMul", floats(6)), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(
        [helper.make_node("MatMul", ["c", "x"], ["y"], "n")],
        {"c": floats(3, 5)},
        {"x": (5, 6)},
        tolerance=1e-5,
    )
    for a, b in [((4, 5, 6), (4, 6, 7)), ((5, 6), (6, 2)), ((1, 5, 6), (4, 6, 7))]:
        check(
            [helper.make_node("MatMul", ["a", "b"], ["y"], "n")],
            {},
            {"a": a, "b": b},
            tolerance=1e-5,
        )


def test_normalisations():
    c = (floats(4, low=0.5), floats(4))
    check(
        *one("BatchNormalization", *c, floats(4), floats(4, low=0.5), epsilon=1e-3),
        {"x": (4, 5, 6)},
    )
    check(*one("InstanceNormalization", *c), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(*one("GroupNormalization", *c, num_groups=2), {"x": (4, 5, 6)}, opset=21, tolerance=1e-5)
    check(*one("LayerNormalization", floats(6), floats(6)), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(*one("LayerNormalization", floats(5, 6), axis=-2), {"x": (4, 5, 6)}, tolerance=1e-5)
    check(*one("LayerNormalization", floats(4, 5, 6), axis=1), {"x": (4, 5, 6)}, tolerance=1e-5)


def test_shapes():
    check(*one("Reshape", ints(0, -1)), {"x": (4, 5, 6)})
    check(*one("Reshape", ints(0, 0, 3, -1)), {"x": (4, 6)})
    check(*one("Flatten"), {"x": (4, 5, 6)})
    check(*one("Squeeze", ints(1, 3)), {"x": (1, 5, 1)})
    check(*one("Unsqueeze", ints(1, -1)), {"x": (4, 5)})
    check(*one("Transpose", perm=[0, 3, 1, 2]), {"x": (4, 5, 6)})
    check(*one("Expand", ints(1, 4, 3, 5)), {"x": (4, 1, 5)})
    check(*one("Tile", ints(1, 2, 1, 3)), {"x": (2, 3, 4)})
    check(*one("DepthToSpace", blocksize=2), {"x": (8, 3, 4)})
    check(*one("DepthToSpace", blocksize=2, mode="CRD"), {"x": (8, 3, 4)})
    check(*one("SpaceToDepth", blocksize=2), {"x": (3, 4, 6)})


def test_selections():
    check(*one("Slice", ints(1, 0), ints(4, 99), ints(2, 3), ints(2, 3)), {"x": (4, 5, 6)})
    check(*one("Slice", ints(-3), ints(-1), ints(-1)), {"x": (4, 5, 6)})
    check(*one("Split", ints(1, 3), axis=1, outputs=2), {"x": (4, 5)})
    check(*one("Split", axis=2, outputs=3), {"x": (4, 6)})
    for index in (
        np.int64(2),
        np.int64(-1),
        ints(0, 2),
        ints(3, 1, 1),
        ints(1, 2, 3),
        np.array([[0, 2], [1, 3]]),
    ):
        check(*one("Gather", np.asarray(index, np.int64), axis=1), {"x": (4, 5)})
    check([helper.make_node("Concat", ["x", "x"], ["y"], "n", axis=-1)], {}, {"x": (4, 5)})
    check(*one("Concat", floats(1, 2, 5), axis=1), {"x": (4, 5)}, rows=1)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode):
    check(*one("Pad", ints(0, 0, 1, 2, 0, 0, 2, 1), mode=mode), {"x": (3, 5, 6)})
    check(*one("Pad", ints(0, 1, -1, 2, 0, 0, 2, -1), mode=mode), {"x": (3, 5, 6)})
    if mode == "constant":
        check(*one("Pad", ints(0, 0, 1, 2, 0, 0, 2, 1), np.float32(1.5)), {"x": (3, 5, 6)})


RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest"},
    {"mode": "linear"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
]


@pytest.mark.parametrize("attributes", RESIZES)
def test_resize(attributes):
    check(*one("Resize", None, np.array([1, 1, 2, 3], np.float32), **attributes), {"x": (3, 4, 5)})
    check(*one("Resize", None, np.array([1, 1, 2, 2], np.float32), **attributes), {"x": (3, 4, 5)})


def test_where_and_known_masks():
    mask = np.tril(np.ones((5, 5), bool))
    check(
        [helper.make_node("Where", ["m", "x", "f"], ["y"], "n")],
        {"m": mask, "f": np.float32(-2.5)},
        {"x": (4, 5, 5)},
    )
    check(
        [
            helper.make_node("Where", ["m", "f", "x"], ["z"], "n"),
            helper.make_node("Softmax", ["z"], ["y"], "s"),
        ],
        {"m": ~mask, "f": np.float32(-np.inf)},
        {"x": (4, 5, 5)},
    )
    check(
        [helper.make_node("Where", ["m", "a", "b"], ["y"], "n")],
        {"m": mask},
        {"a": (5, 5), "b": (5, 5)},
    )


def test_old_opsets():
    check(*one("Clip", min=0.0, max=6.0), {"x": (4, 5)}, opset=9)
    check(*one("Softmax", axis=1), {"x": (4, 5)}, opset=11)
    check(*one("Slice", starts=[1], ends=[3], axes=[2]), {"x": (4, 5)}, opset=9)
    check(*one("Pad", pads=[0, 1, 0, 0, 0, 2], value=2.0), {"x": (4, 5)}, opset=10)
    check(*one("Squeeze", axes=[1]), {"x": (1, 5)}, opset=11)
    check(
        *one("Upsample", np.array([1, 1, 2, 2], np.float32), mode="nearest"),
        {"x": (3, 4, 5)},
        opset=9,
    )


def test_fixed_batch_of_one_is_opened():
    """A reshape to [1, 20] and a squeeze of the batch still mean one sample each."""
    graph = check(
        [
            helper.make_node("Reshape", ["x", "s"], ["r"], "r"),
            helper.make_node("Relu", ["r"], ["y"], "a"),
        ],
        {"s": ints(1, 20)},
        {"x": (4, 5)},
        batch=1,
    )
    assert tuple(graph.outputs[0].shape) == (None, 20)


def test_batch_moved_and_merged():
    """Attention code moves the batch behind time and merges it with heads."""
    t, h, e = 5, 2, 6
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], "a", perm=[1, 0, 2]),  # [t, N, e]
        helper.make_node("Reshape", ["a", "s1"], ["b"], "b"),  # [t, N * h, e / h]
        helper.make_node("Transpose", ["b"], ["c"], "c", perm=[1, 0, 2]),  # [N * h, t, e / h]
        helper.make_node("Transpose", ["c"], ["d"], "d", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["c", "d"], ["m"], "m"),
        helper.make_node("Softmax", ["m"], ["p"], "p"),
        helper.make_node("MatMul", ["p", "c"], ["o"], "o"),
        helper.make_node("Transpose", ["o"], ["q"], "q", perm=[1, 0, 2]),
        helper.make_node("Reshape", ["q", "s2"], ["r"], "r"),  # [t * N, e]
        helper.make_node("Gemm", ["r", "w"], ["g"], "g"),
        helper.make_node("Reshape", ["g", "s3"], ["u"], "u"),  # [t, N, e]
        helper.make_node("Transpose", ["u"], ["y"], "y", perm=[1, 0, 2]),
    ]
    constants = {
        "s1": ints(t, -1, e // h),
        "s2": ints(-1, e),
        "s3": ints(t, -1, e),
        "w": floats(e, e),
    }
    check(nodes, constants, {"x": (t, e)}, tolerance=1e-5)


def test_branch_on_a_known_condition():
    branches = {}
    for name, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        branches[name] = helper.make_graph(
            [helper.make_node(op, ["x"], [f"{name}_y"], op)], name, [], [out]
        )
    check(
        [helper.make_node("If", ["c"], ["y"], "if", **branches)],
        {"c": np.array(False)},
        {"x": (4,)},
    )


def refused(case, shapes, message, opset=17, batch="N"):
    nodes, constants = case
    outputs = [o for n in nodes for o in n.output]
    with pytest.raises(tersor.UnsupportedError, match=message):
        from_onnx(model_of(nodes, constants, shapes, outputs, opset, batch))


def test_unsupported_is_named():
    refused(
        one("Det"),
        {"x": (3, 3)},
        r"node 'det' has the operator Det.*supported ONNX operators:\n  Abs, Add",
    )
    refused(
        one("ReduceMean", axes=[0]),
        {"x": (4,)},
        r"node 'reducemean' \(ReduceMean\) mixes the samples of a batch",
    )
    refused(
        one("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="cubic"),
        {"x": (3, 4, 5)},
        "mode 'cubic'",
    )
    refused(
        one("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), {"x": (3, 8, 8)}, "dilated pooling"
    )


def test_open_dimensions():
    nodes, constants = one("Relu")
    model = model_of(nodes, constants, {"x": (3, "H", "W")}, ["y"])

    with pytest.raises(
        tersor.UnsupportedError, match=r"input 'x' leaves dimension 2 open.*shapes=\{'x': \(None, 3"
    ):
        from_onnx(model)
    graph = from_onnx(model, shapes={"x": (None, 3, 8, 9)})
    assert tuple(graph.outputs[0].shape) == (None, 3, 8, 9)
    assert tuple(from_onnx(model, shapes={"x": (4, 3, 8, 9)}).outputs[0].shape) == (4, 3, 8, 9)
    with pytest.raises(ValueError, match=r"shapes must name inputs \['x'\], got \['z'\]"):
        from_onnx(model, shapes={"x": (None, 3, 8, 9), "z": (1,)})


def test_double_inputs():
    nodes, _ = one("Relu")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", 3])],
    )
    graph = from_onnx(helper.make_model(graph, ir_version=9))
    assert [e.dtype for e in (*graph.inputs, *graph.outputs)] == ["float64"] * 2
