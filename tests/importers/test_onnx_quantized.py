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


def test_weights_only(tmp_path):
    """Codes behind float activations become the floats that they stand for."""
    from onnx import TensorProto, helper, numpy_helper

    from tersor.importers.onnx import from_onnx

    rng = np.random.default_rng(0)
    w, s = (
        rng.integers(-127, 128, (5, 4)).astype(np.int8),
        rng.uniform(0.01, 0.1, 5).astype(np.float32),
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], "d", axis=0),
        helper.make_node("Gemm", ["x", "d"], ["y"], "g", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(s, "s")],
    )
    imported = from_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert [n.op for n in imported.nodes] == ["dense"]
    np.testing.assert_allclose(
        imported.edges[imported.nodes[0].inputs[1]].constant, w * s[:, None], rtol=1e-6
    )
