"""Whole ONNX networks: the session equals ONNX Runtime; structure after canonicalisation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import tersor

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from tests import architectures, exports, graph_in_torch  # noqa: E402


def runtime_outputs(path, inputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)})


def session_outputs(graph, inputs, **options):
    result = tersor.Session(graph, **options)(*inputs)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def assert_close(result, expected, tolerance=1e-4):
    assert len(result) == len(expected)
    for a, b in zip(result, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def operators(graph):
    return Counter(n.op for n in graph.nodes)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", architectures.NETWORKS)
def test_session_equals_onnx_runtime(name, batch):
    path = exports.onnx_file(name)
    inputs = exports.inputs_of(name, batch)
    graph = tersor.load(path)
    assert_close(session_outputs(graph, inputs), runtime_outputs(path, inputs))


@pytest.mark.parametrize("name", architectures.NETWORKS)
def test_conversion_equals_float64_evaluation(name):
    """Without the runtime: the graph itself means the same."""
    module, _ = architectures.build(name)
    inputs = exports.inputs_of(name)
    graph = tersor.load(exports.onnx_file(name))
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(x) for x in inputs]
    with torch.no_grad():
        expected = module.double()(*(t.double() if t.is_floating_point() else t for t in tensors))
    expected = [t.numpy() for t in (expected if isinstance(expected, tuple) else (expected,))]
    # The exporter folds in float32, so does fold_batch_norm.
    assert_close(graph_in_torch.evaluate(graph, *inputs), expected, 1e-5)


@pytest.mark.parametrize("name", architectures.NETWORKS)
def test_no_leftovers(name):
    found = operators(tersor.load(exports.onnx_file(name)))
    assert not {"batch_norm", "identity", "cast", "erf"} & set(found)
    if not name.startswith("transformer"):
        assert "transpose" not in found
        assert found["reshape"] <= 1


def test_resnet20(models_dir):
    path = models_dir / "resnet20-cifar10.onnx"
    graph = tersor.load(path)
    assert operators(graph) == {
        "conv": 19,
        "add": 9,
        "slice": 4,
        "pad": 2,
        "avg_pool": 1,
        "reshape": 1,
        "dense": 1,
    }
    assert graph.macs == 40_550_400 + 640
    assert graph.edge("conv1.weight").shape == (16, 3, 3, 3)
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    assert_close(session_outputs(graph, [x]), runtime_outputs(path, [x]))


def test_mobilenet_v2(models_dir):
    path = models_dir / "mobilenetv2-cifar10.onnx"
    graph = tersor.load(path)
    assert operators(graph) == {"conv": 52, "add": 10, "reduce_mean": 1, "dense": 1}
    assert sum(n.attributes.get("activation") == "relu6" for n in graph.nodes) == 35
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    assert_close(session_outputs(graph, [x]), runtime_outputs(path, [x]))


def test_graph_describes_itself(models_dir):
    graph = tersor.load(models_dir / "resnet20-cifar10.onnx")
    assert repr(graph).startswith("Graph(37 nodes, ")
    text = str(graph)
    assert "resnet20-cifar10.onnx" in text
    assert "layer1.0.conv1.weight" in text
    assert "conv + relu" in text
    assert graph._repr_html_().count("<tr>") == 1 + 37
    assert graph.weight_bytes == 4 * graph.parameters
    copy = graph.clone()
    copy.preprocess["scale"] = 1
    assert isinstance(copy, tersor.Graph)
    assert graph.preprocess == {}
    assert repr(copy) == repr(graph)
