"""Images as bytes in: sessions, ONNX Runtime, LiteRT and TFLite Micro take stored samples."""

from __future__ import annotations

import numpy as np
import pytest

import tersor
from tersor.exporters import byte_input
from tests import networks
from tests.compress import networks as compressible
from tests.exporters.litert import litert, micro

PREPARE = tersor.Preprocess(
    scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="NCHW"
)


def images(count=24, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    graph = compressible.residual()
    graph.preprocess = PREPARE.to_dict()
    return tersor.compress(graph, recipe="int8", calibration=PREPARE(images(64, seed=1)))


def first_codes(graph, x, arithmetic):
    node = next(n for n in graph.nodes if n.name == "preprocess")
    name = graph.edge(node.outputs[0]).name
    return np.asarray(tersor.Session(graph, arithmetic=arithmetic).taps(x)[name])


@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
def test_first_layer_is_the_preprocessing(model, arithmetic):
    graph = byte_input(model)
    edge = graph.inputs[0]
    assert (edge.dtype, edge.shape) == ("int8", (None, 16, 16, 3))
    assert {n.op for n in graph.nodes} & {"quantize", "cast"} == set()
    levels = np.zeros((1, 16, 16, 3), np.uint8)
    levels[0] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    got = first_codes(graph, levels, arithmetic)
    q = model.graph.edge(model.graph.nodes[0].outputs[0]).qparams
    wanted = np.rint(PREPARE(levels) / np.float32(q.scale[0])) + q.zero_point[0]
    off = got != np.clip(wanted, -128, 127)
    assert off.sum() <= 3  # of 3 x 256 codes: a byte near a tie
    assert np.abs(got - wanted)[off].max(initial=0) <= 1


def test_all_runtimes_take_bytes(model, tmp_path):
    pytest.importorskip("tflite")
    x = images()
    graph = byte_input(model)
    expected = tersor.Session(graph, arithmetic="exact")(x)
    plain = tersor.Session(model)(x)
    assert np.abs(expected - plain).max() <= 0.1 * np.abs(plain).max()
    np.testing.assert_array_equal(
        tersor.Session(graph, arithmetic="exact")((x ^ 128).view(np.int8)), expected
    )
    model.export(tmp_path / "n.tflite", bytes_in=True)
    data = (tmp_path / "n.tflite").read_bytes()
    (y,) = litert(data, [x])
    np.testing.assert_allclose(y, expected, atol=0.05 * np.abs(expected).max())
    again = tersor.load(tmp_path / "n.tflite")
    np.testing.assert_array_equal(tersor.Session(again, arithmetic="exact")(x), expected)
    np.testing.assert_array_equal(micro(data, x), expected)


def test_onnx_takes_bytes(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    x = images()
    model.export(tmp_path / "n.onnx", bytes_in=True)
    session = runtime.InferenceSession(str(tmp_path / "n.onnx"))
    assert session.get_inputs()[0].type == "tensor(uint8)"
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    expected = tersor.Session(byte_input(model))(x)
    np.testing.assert_allclose(y, expected, atol=0.05 * np.abs(expected).max())


def test_float_networks():
    graph = networks.residual_network(size=8)
    prepare = tersor.Preprocess(scale=1 / 255, mean=0.4, std=(0.2, 0.3, 0.4), layout="NCHW")
    graph.preprocess = prepare.to_dict()
    x = images(4, 8)
    y = tersor.Session(byte_input(graph))(x)
    np.testing.assert_allclose(y, tersor.Session(graph)(prepare(x)), rtol=1e-4, atol=1e-4)
    assert graph.inputs[0].dtype == "float32"
    graph.preprocess = tersor.Preprocess(layout="NCHW", source_layout="NCHW").to_dict()
    z = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(
        tersor.Session(byte_input(graph))(z),
        tersor.Session(graph)(z.astype(np.float32)),
        rtol=1e-4,
        atol=1e-3,
    )


def test_refusals():
    graph = networks.residual_network()
    with pytest.raises(tersor.UnsupportedError, match="model must have preprocessing, got none"):
        byte_input(graph)
    b = networks.Builder()
    vector = b.done(b.dense(b.input((3,)), 2))
    vector.preprocess = tersor.Preprocess().to_dict()
    with pytest.raises(tersor.UnsupportedError, match="input must be float32 images"):
        byte_input(vector)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_codebooks_are_decoded(suffix, tmp_path):
    graph = compressible.residual()
    model = tersor.compress(graph, recipe="codebook4", calibration=compressible.images())
    written = model.export(tmp_path / f"n.{suffix}")
    assert any("instead of codes of 16 values" in why for why in written.decoded.values())
    again = tersor.load(tmp_path / f"n.{suffix}")
    x = compressible.images(3)
    y = x if suffix == "onnx" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(
        tersor.Session(again)(y), tersor.Session(model)(x), rtol=1e-4, atol=1e-3
    )
