"""TFLite files: the same numbers in LiteRT, the same bits in TFLite Micro."""

from __future__ import annotations

import numpy as np
import pytest

import tersor
from tersor.exporters import export
from tests import networks
from tests.compress import networks as compressible
from tests.exporters import trained
from tests.exporters.litert import litert, micro
from tests.runtime import operator_cases as cases

tflite = pytest.importorskip("tflite")

from tersor.exporters.tflite import to_tflite  # noqa: E402

# What TFLite has no operator for, and what the refusal says.
REFUSED = {
    "conv-2x4x5x3-": "it has 3 spatial dimensions",
    "max_pool-3x4x5x6-": "it has 3 spatial dimensions",
    "conv_transpose-4x5x5-": "a transposed convolution with groups",
    "erf": "no error function",
    "avg_pool-5x9x8-kernel=[3,3]-strides=[2,2]-pads=[1,1,1,1]-": "neither SAME nor VALID",
    "pad-3x4x5-pads=[0,0,1,2,0,0,2,3]-mode=edge": "repeats the edge",
    "resize-3x5x4-sizes=[1,8]-mode=linear-coordinates=pytorch": "to a size of 1",
}
# Their output's batch is part of the file.
ONE_SAMPLE = ("conv_transpose", "expand")


def refusal(case):
    return next((why for start, why in REFUSED.items() if case.id.startswith(start)), None)


def operators(data):
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    nodes = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    return [names[codes[n.OpcodeIndex()]] for n in nodes]


@pytest.mark.parametrize("case", cases.CASES, ids=lambda c: c.id)
def test_float_operators(case):
    inputs, constants = cases.draw(case, batch=1 if case.op in ONE_SAMPLE else 2)
    graph = cases.build(case, inputs, constants)
    if why := refusal(case):
        with pytest.raises(tersor.UnsupportedError, match=rf"layer 'node' \({case.op}\).*{why}"):
            to_tflite(graph)
        return
    data, decoded = to_tflite(graph, layout="source")
    assert decoded == {}
    (y,) = litert(data, inputs)
    expected = np.asarray(tersor.Session(graph, provider="reference")(*inputs))
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "case", [c for c in cases.CASES if c.constraint != "none"], ids=lambda c: c.id
)
def test_operators_on_codes(case):
    if refusal(case) or case.op == "expand":
        return
    q = cases.quantized(case, batch=1 if case.op in ONE_SAMPLE else 2)
    data, decoded = to_tflite(q.graph, layout="source")
    assert decoded == {}
    (y,) = litert(data, q.inputs)
    session = tersor.Session(q.graph, provider="reference", arithmetic="exact")
    expected = np.asarray(session(*q.inputs))
    np.testing.assert_array_equal(y, expected)


def test_no_transposes(tmp_path):
    for graph in (networks.residual_network(), networks.int8_residual_network()):
        data, _ = to_tflite(graph)
        found = operators(data)
        assert "TRANSPOSE" not in found
        assert found.count("CONV_2D") == 6
        x = networks.images(2)
        (y,) = litert(data, [np.ascontiguousarray(x.transpose(0, 2, 3, 1))])
        np.testing.assert_allclose(y, tersor.Session(graph)(x), rtol=1e-3, atol=0.11)
    data, _ = to_tflite(networks.residual_network(), layout="source")
    assert operators(data).count("TRANSPOSE") == 1
    (y,) = litert(data, [x])
    np.testing.assert_allclose(
        y, tersor.Session(networks.residual_network())(x), rtol=1e-4, atol=1e-4
    )


def test_a_flattened_image_moves_the_weights_instead():
    b = networks.Builder()
    x = b.conv(b.input((3, 6, 5)), 4, name="conv")
    flat = b.node("reshape", x, name="flat", shape=[-1, 4 * 6 * 5])
    graph = b.done(b.dense(flat, 7, name="fc"))
    data, _ = to_tflite(graph)
    assert operators(data) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    image = b.floats(3, 3, 6, 5)
    (y,) = litert(data, [np.ascontiguousarray(image.transpose(0, 2, 3, 1))])
    np.testing.assert_allclose(y, tersor.Session(graph)(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("recipe", ["int8", "fp32", "fp16", "bf16", "w8a32", "w4a32"])
def test_recipes(recipe, tmp_path):
    graph = compressible.residual()
    model = tersor.compress(graph, recipe=recipe, calibration=compressible.images())
    written = model.export(tmp_path / "n.tflite")
    data = (tmp_path / "n.tflite").read_bytes()
    assert (written.format, written.nbytes) == ("tflite", len(data))
    assert data[4:8] == b"TFL3"
    assert bool(written.decoded) == (recipe == "w4a32")
    x = compressible.images(5, 1)
    (y,) = litert(data, [np.ascontiguousarray(x.transpose(0, 2, 3, 1))])
    expected = tersor.Session(model)(x)
    np.testing.assert_allclose(y, expected, rtol=1e-2, atol=1e-2 + 0.03 * np.abs(expected).max())


def test_sizes_of_weights(tmp_path):
    b = networks.Builder()
    graph = b.done(b.dense(b.input((256,)), 256, name="fc"))
    full = export(graph, tmp_path / "a.tflite").nbytes
    half = export(graph, tmp_path / "b.tflite", dtype="float16").nbytes
    byte = tersor.compress(graph, recipe="w8a32").export(tmp_path / "c.tflite").nbytes
    assert full > 256 * 1024 > half > 128 * 1024 > byte > 64 * 1024
    x = b.floats(3, 256)
    for name, most in (("a", 1e-3), ("b", 0.1), ("c", 1.0)):
        (y,) = litert((tmp_path / f"{name}.tflite").read_bytes(), [x])
        assert np.abs(y - tersor.Session(graph)(x)).max() < most


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "parts", "samples"),
    [
        ("resnet8", 4, 100),
        pytest.param("resnet8", 20, 100, marks=pytest.mark.slow),
        pytest.param("resnet20", 20, 100, marks=pytest.mark.slow),
        pytest.param("mobilenetv2", 20, 20, marks=pytest.mark.slow),
    ],
)
def test_same_classes_and_bits(name, parts, samples):
    """`parts` of 50 images go through LiteRT, `samples` images through TFLite Micro."""
    model, prepare = trained.int8(name)
    x = prepare(trained.images().x)
    expected = tersor.Session(model)(x).argmax(1)
    data, _ = to_tflite(model.graph)
    assert "TRANSPOSE" not in operators(data)
    image = x if name == "resnet8" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    rows = np.split(image, 20)[:parts]
    y = np.concatenate([litert(data, [part])[0] for part in rows])
    assert (y.argmax(1) == expected[: len(y)]).mean() >= 0.995
    # XNNPACK rounds accumulators once.
    y = np.concatenate([litert(data, [part], reference=False)[0] for part in rows[:5]])
    assert (y.argmax(1) == expected[: len(y)]).mean() >= 0.95
    check_micro(model.graph, x[:samples], image[:samples])


def check_micro(graph, x, image):
    """TFLite Micro gives the codes of the exact arithmetic."""
    data, _ = to_tflite(graph, ends="int8")
    edges = graph.edges
    first = edges[next(n for n in graph.nodes if n.op == "quantize").outputs[0]]
    last = edges[next(n for n in graph.nodes if n.op == "dequantize").inputs[0]]
    codes = np.rint(image / first.qparams.scale[0]) + first.qparams.zero_point[0]
    y = micro(data, np.clip(codes, -128, 127).astype(np.int8))
    values = tersor.Session(graph, arithmetic="exact").taps(x)
    if y.dtype == np.int8:
        np.testing.assert_array_equal(y, values[last.name])
    else:  # a softmax in float follows
        np.testing.assert_allclose(y, values[edges[graph.output_ids[0]].name], rtol=0, atol=1e-6)


def test_int8_ends():
    graph = networks.int8_residual_network()
    data, _ = to_tflite(graph, ends="int8")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators(data))
    codes = np.random.default_rng(0).integers(-128, 128, (3, 8, 8, 3)).astype(np.int8)
    (y,) = litert(data, [codes])
    edges = graph.edges
    name = edges[graph.nodes[0].outputs[0]].name
    out = edges[graph.nodes[-1].inputs[0]].name
    session = tersor.Session(graph, arithmetic="exact")
    expected = session.run_edges({name: np.ascontiguousarray(codes.transpose(0, 3, 1, 2))}, [out])[
        out
    ]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(micro(data, codes), expected)


def test_messages(tmp_path):
    graph = networks.residual_network()
    with pytest.raises(ValueError, match="ends must be float32 or int8, got 'int4'"):
        export(graph, tmp_path / "n.tflite", ends="int4")
    with pytest.raises(ValueError, match="layout must be channels_last or source, got 'x'"):
        export(graph, tmp_path / "n.tflite", layout="x")
    assert list(tmp_path.iterdir()) == []
