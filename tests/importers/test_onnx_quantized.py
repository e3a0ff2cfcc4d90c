"""Networks that were quantized elsewhere (QDQ) keep their parameters and run on codes."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

import tersor

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
from onnxruntime import quantization  # noqa: E402

from tersor.importers.errors import ImportFormatError  # noqa: E402
from tests import exports  # noqa: E402


class Reader(quantization.CalibrationDataReader):
    def __init__(self, inputs):
        self.rows = iter([{f"in{i}": x for i, x in enumerate(inputs)}])

    def get_next(self):
        return next(self.rows, None)


def quantized(name, path, **options):
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            exports.onnx_file(name), path, Reader(exports.inputs_of(name, 16)), **options
        )
    finally:
        logging.disable(logging.NOTSET)
    return path


def runtime_outputs(path, inputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    # Integer kernels of this runtime saturate without VNNI; QDQ as written is the truth.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(
        None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)}
    )[0]


@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "autoencoder"])
def test_qdq_runs_on_codes(name, per_channel, activations, tmp_path):
    path = quantized(
        name,
        tmp_path / "q.onnx",
        per_channel=per_channel,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType.QInt8,
        extra_options={"WeightSymmetric": True},
    )
    graph = tersor.load(path)
    edges = graph.edges
    heavy = [n for n in graph.nodes if n.op in ("conv", "dense")]
    assert heavy
    for node in heavy:
        assert [edges[i].dtype for i in (*node.inputs, *node.outputs)] == [
            "int8",
            "int8",
            "int32",
            "int8",
        ]
    x = exports.inputs_of(name, 16, 3)
    expected = runtime_outputs(path, x)
    y = tersor.Session(graph)(*x)
    # A code may differ where a float32 sum falls on the other side of a tie; it must not pile up.
    assert np.abs(y - expected).max() <= 0.05 * np.abs(expected).max()
    assert np.mean(np.abs(y - expected)) <= 0.004 * np.abs(expected).max()


def test_parameters_are_kept(tmp_path):
    path = quantized("resnet8", tmp_path / "q.onnx", per_channel=True)
    model = onnx.load(path)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    graph = tersor.load(path)
    found = Counter(n.op for n in graph.nodes)
    assert found["conv"] == 9
    assert found["quantize"] == 1
    assert found["dequantize"] == 1
    for node in model.graph.node:
        if node.op_type == "Conv":
            dequantize = next(n for n in model.graph.node if node.input[1] in n.output)
            edge = graph.edge(dequantize.input[0])
            np.testing.assert_array_equal(edge.constant, arrays[dequantize.input[0]])
            np.testing.assert_array_equal(edge.qparams.scale, arrays[dequantize.input[1]])


def weight_only(node, w, constants, *, attributes, inputs=4, opset=21, more=()):
    """A file whose weight alone is quantized: DequantizeLinear and the node that reads it."""
    from onnx import TensorProto, helper, numpy_helper

    from tersor.importers.onnx import from_onnx

    names = ["w", *(name for name, _ in constants)]
    nodes = [
        helper.make_node("DequantizeLinear", names, ["d"], "d", **attributes),
        helper.make_node(*node[:3], "layer", **node[3]),
        *more,
    ]
    shape = ["N", inputs] if isinstance(inputs, int) else ["N", *inputs]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [w, *(numpy_helper.from_array(value, name) for name, value in constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return from_onnx(model), model


def reals_of(graph, name="w"):
    from tersor.quantization import dequantize

    edge = graph.edge(name)
    return dequantize(edge.constant, edge.qparams)


def test_weights_only():
    """Codes behind float activations stay codes: the weight of a float operator."""
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (5, 4)).astype(np.int8)
    s = rng.uniform(0.01, 0.1, 5).astype(np.float32)
    gemm = ("Gemm", ["x", "d"], ["y"], {"transB": 1})
    graph, _ = weight_only(
        gemm, numpy_helper.from_array(w, "w"), [("s", s)], attributes={"axis": 0}, opset=17
    )
    assert [n.op for n in graph.nodes] == ["dense"]
    np.testing.assert_array_equal(graph.edge("w").constant, w)
    np.testing.assert_allclose(reals_of(graph), w * s[:, None], rtol=1e-6)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        tersor.Session(graph)(x), x @ (w * s[:, None]).T, rtol=1e-4, atol=1e-5
    )
    kept = tersor.compress(graph, recipe="keep")
    np.testing.assert_array_equal(kept.graph.edge("w").constant, w)


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT8", "UINT8"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_blocks(kind, transposed, zero):
    from onnx import TensorProto, helper

    rng = np.random.default_rng(1)
    bits, signed = int(kind[-1]), not kind.startswith("U")
    low = -(1 << (bits - 1)) if signed else 0
    codes = rng.integers(low, low + (1 << bits), (5, 70) if transposed else (70, 5))
    shape = (5, 3) if transposed else (3, 5)  # blocks of 32, the last one short
    scale = rng.uniform(0.01, 0.1, shape).astype(np.float32)
    zeros = rng.integers(low, low + (1 << bits), shape) if zero else np.zeros(shape, int)
    axis = int(transposed)
    w = helper.make_tensor("w", getattr(TensorProto, kind), codes.shape, codes.reshape(-1))
    constants = [("s", scale)]
    if zero or not signed:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        constants.append(("z", zeros.astype(getattr(ml_dtypes, kind.lower(), kind.lower()))))
    gemm = ("Gemm", ["x", "d"], ["y"], {"transB": int(transposed)})
    graph, _ = weight_only(
        gemm, w, constants, attributes={"axis": axis, "block_size": 32}, inputs=70
    )
    wide = [np.repeat(v, 32, axis).take(range(70), axis) for v in (scale, zeros)]
    reals = (codes - wide[1]).astype(np.float32) * wide[0]
    reals = reals if transposed else reals.T
    edge = graph.edge(graph.nodes[0].inputs[1])
    assert (edge.dtype, edge.qparams.bits, edge.qparams.group_size) == ("int8", bits, 32)
    np.testing.assert_allclose(reals_of(graph, edge.name), reals, rtol=1e-6)
    x = rng.normal(size=(2, 70)).astype(np.float32)
    np.testing.assert_allclose(tersor.Session(graph)(x), x @ reals.T, rtol=1e-3, atol=1e-4)
    back = tersor.artifact.decode(tersor.artifact.encode(graph))[0]
    np.testing.assert_array_equal(back.edge(edge.name).constant, edge.constant)


def test_convolutions_on_weight_codes():
    from onnx import numpy_helper

    rng = np.random.default_rng(2)
    w = rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
    s = rng.uniform(0.01, 0.02, 6).astype(np.float32)
    conv = ("Conv", ["x", "d"], ["y"], {"pads": [1, 1, 1, 1]})
    graph, model = weight_only(
        conv, numpy_helper.from_array(w, "w"), [("s", s)], attributes={"axis": 0}, inputs=(3, 8, 8)
    )
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(graph.edge("w").constant, w)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    np.testing.assert_allclose(
        tersor.Session(graph)(x), session.run(None, {"x": x})[0], rtol=1e-3, atol=1e-3
    )


def test_a_weight_that_is_also_data_is_float_there():
    from onnx import helper, numpy_helper

    w = np.arange(-2, 2, dtype=np.int8).reshape(1, 4)
    gemm = ("Gemm", ["x", "d"], ["m"], {"transB": 1})
    graph, _ = weight_only(
        gemm,
        numpy_helper.from_array(w, "w"),
        [("s", np.float32(0.5))],
        attributes={},
        opset=17,
        more=[helper.make_node("Add", ["m", "d"], ["y"], "add")],
    )
    x = np.ones((2, 4), np.float32)
    reals = w * np.float32(0.5)
    np.testing.assert_allclose(tersor.Session(graph)(x), x @ reals.T + reals, rtol=1e-6)
    add = next(n for n in graph.nodes if n.op == "add")
    assert all(graph.edges[i].dtype == "float32" for i in add.inputs)


@pytest.mark.parametrize(
    ("scale", "block", "text"),
    [
        (np.ones((2, 5), np.float32), 32, r"scale must have shape \[3, 5\] for blocks of 32"),
        (np.ones(3, np.float32), 32, r"scale must have shape \[3, 5\] .* got \[3\]"),
        (np.ones((3, 5), np.float32), -1, r"scale must have shape \[0, 5\] for blocks of -1"),
        (np.zeros((3, 5), np.float32), 32, "scale must be finite and > 0"),
    ],
)
def test_bad_blocks(scale, block, text):
    from onnx import numpy_helper

    w = numpy_helper.from_array(np.zeros((70, 5), np.int8), "w")
    with pytest.raises(ImportFormatError, match=text):
        weight_only(
            ("Gemm", ["x", "d"], ["y"], {}),
            w,
            [("s", scale)],
            attributes={"axis": 0, "block_size": block},
            inputs=70,
        )
