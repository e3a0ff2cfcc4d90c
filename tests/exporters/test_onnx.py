"""ONNX files: the same numbers in ONNX Runtime, the same graph when they are read again."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.exporters import export
from tests import networks
from tests.compress import networks as compressible
from tests.exporters import trained
from tests.exporters.same_graph import assert_same_graph
from tests.runtime import operator_cases as cases

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from tersor.exporters.onnx import to_onnx  # noqa: E402
from tersor.importers.onnx import from_onnx, load_onnx  # noqa: E402


def runtime(model, optimize=True):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda *x: session.run(None, dict(zip(names, x, strict=True)))


# ONNX Runtime has no form of these, or another meaning.
UNKNOWN_TO_RUNTIME = {
    "avg_pool-3x7x7-kernel=[3,2]-strides=[3,2]-pads=[1,0,1,1]-ceil_mode=1-count_include_pad=1",
}


@pytest.mark.parametrize("case", cases.CASES, ids=lambda c: c.id)
def test_float_operators(case):
    inputs, constants = cases.draw(case)
    graph = cases.build(case, inputs, constants)
    model, decoded = to_onnx(graph)
    assert decoded == {}
    onnx.checker.check_model(model, full_check=True)
    expected = np.asarray(tersor.Session(graph, provider="reference")(*inputs))
    if case.id not in UNKNOWN_TO_RUNTIME:
        (y,) = runtime(model.SerializeToString())(*inputs)
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=2e-4, atol=2e-5)
    again = from_onnx(model)
    z = np.asarray(tersor.Session(again, provider="reference")(*inputs))
    np.testing.assert_allclose(z, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "case", [c for c in cases.CASES if c.constraint != "none"], ids=lambda c: c.id
)
def test_operators_on_codes(case):
    q = cases.quantized(case)
    model, decoded = to_onnx(q.graph)
    assert decoded == {}
    again = from_onnx(model, canonicalize=True)
    y = np.asarray(tersor.Session(again, provider="reference")(*q.inputs))
    expected = np.asarray(tersor.Session(q.graph, provider="reference")(*q.inputs))
    np.testing.assert_array_equal(y, expected)
    # A constant operand is read as the weight of a dense layer, whose zero point must be 0.
    if case.op != "identity" and (case.op, case.constants) != ("matmul", ((5, 3),)):
        assert [n.op for n in again.nodes][-1] == case.op
        assert again.outputs[0].dtype == "int8"
    if case.id in UNKNOWN_TO_RUNTIME:
        return
    (z,) = runtime(model.SerializeToString(), optimize=False)(*q.inputs)
    # Float sums may fall on the other side of a tie.
    assert np.abs(z.astype(int) - expected.astype(int)).max() <= 1


def test_networks_come_back_as_they_were(tmp_path):
    for graph in (networks.residual_network(), networks.int8_residual_network()):
        export(graph, tmp_path / "n.onnx")
        assert_same_graph(load_onnx(tmp_path / "n.onnx"), graph)


@pytest.mark.parametrize(
    ("recipe", "kinds"),
    [
        ("int8", {"int8"}), ("fp32", {"float32"}), ("fp16", {"float16"}), ("bf16", {"bfloat16"}),
        ("w8a32", {"int8"}),
    ],
)  # fmt: skip
def test_recipes_come_back_as_they_were(recipe, kinds, tmp_path):
    graph = compressible.residual()
    graph.preprocess = {"mean": [0.5], "std": [0.25], "scale": 1 / 255, "layout": "NCHW"}
    model = tersor.compress(graph, recipe=recipe, calibration=compressible.images())
    written = model.export(tmp_path / "n.onnx")
    assert (written.format, written.decoded) == ("onnx", {})
    assert written.nbytes == (tmp_path / "n.onnx").stat().st_size
    again = tersor.load(tmp_path / "n.onnx")
    assert_same_graph(again, model.graph)
    edges = again.edges
    assert {edges[n.inputs[1]].dtype for n in again.nodes if n.op == "conv"} == kinds
    x = compressible.images(5, 1)
    np.testing.assert_array_equal(tersor.Session(again)(x), tersor.Session(model)(x))
    if kinds == {"int8"}:
        kept = tersor.compress(again, recipe="keep")
        assert_same_graph(kept.graph, model.graph)
    (y,) = runtime(tmp_path / "n.onnx")(x)
    np.testing.assert_allclose(y, tersor.Session(model)(x), rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("w4a32", r"float32 weights instead of 4-bit codes \(groups over several axes\)"),
        ("int8-dynamic", "computed in float"),
    ],
)
def test_what_onnx_cannot_hold_is_said(recipe, reason, tmp_path):
    graph = compressible.residual()
    model = tersor.compress(graph, recipe=recipe, calibration=compressible.images())
    written = model.export(tmp_path / "n.onnx")
    assert written.decoded
    assert any(re.search(reason, r) for r in written.decoded.values())
    assert f"{written.nbytes:,} bytes" in str(written)
    x = compressible.images(5, 1)
    (y,) = runtime(tmp_path / "n.onnx")(x)
    np.testing.assert_allclose(y, tersor.Session(model)(x), rtol=1e-2, atol=1e-1)


def test_four_bit_groups_stay_four_bits(tmp_path):
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 70))
    w = graph.add_constant("w", networks.Builder().floats(33, 70))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "fc")])
    model = tersor.compress(graph, recipe="w4a32")
    assert model.export(tmp_path / "n.onnx").decoded == {}
    assert_same_graph(tersor.load(tmp_path / "n.onnx"), model.graph)
    x = networks.Builder(1).floats(3, 70)
    (y,) = runtime(tmp_path / "n.onnx")(x)
    np.testing.assert_allclose(y, tersor.Session(model)(x), rtol=1e-4, atol=1e-4)


def test_float16_weights(tmp_path):
    graph = networks.residual_network()
    full = export(graph, tmp_path / "a.onnx")
    half = export(graph, tmp_path / "b.onnx", dtype="float16")
    assert half.nbytes < 0.65 * full.nbytes
    again = tersor.load(tmp_path / "b.onnx")
    assert {again.edge(n.inputs[1]).dtype for n in again.nodes if n.op == "conv"} == {"float16"}
    x = networks.images(3)
    (y,) = runtime(tmp_path / "b.onnx")(x)
    np.testing.assert_allclose(y, tersor.Session(again)(x), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="dtype must be float32 or float16, got 'int4'"):
        export(graph, tmp_path / "c.onnx", dtype="int4")


@st.composite
def chains(draw):
    """Networks of layers after each other with random attributes."""
    b = networks.Builder(draw(st.integers(0, 9)))
    x = b.input((draw(st.integers(1, 5)), draw(st.integers(6, 9)), draw(st.integers(6, 9))))
    activation = st.sampled_from(["none", "relu", "relu6"])
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "depthwise", "add", "pool", "unary", "mul"]))
        name = f"{kind}{i}"
        if kind in ("conv", "depthwise"):
            c = b.channels(x)
            kernel = draw(st.sampled_from([1, 3]))
            attributes = {"strides": [draw(st.integers(1, 2))] * 2, "activation": draw(activation)}
            if kind == "depthwise":
                attributes["groups"] = c
            x = b.conv(x, c if kind == "depthwise" else draw(st.integers(1, 6)), kernel, name,
                       **attributes)  # fmt: skip
        elif kind in ("add", "mul"):
            # x * sigmoid(x), which would come back as silu, is not among them.
            op = draw(st.sampled_from(["abs", "tanh", "silu", "hard_swish"]))
            x = b.node(kind, x, b.node(op, x, name=f"{op}{i}"), name=name,
                       activation=draw(activation))  # fmt: skip
        elif kind == "pool":
            op = draw(st.sampled_from(["max_pool", "avg_pool"]))
            x = b.node(op, x, name=name, kernel=[2, 2], pads=[0, 0, 1, 1])
        else:
            op = draw(st.sampled_from(["relu", "gelu", "hard_sigmoid", "abs", "leaky_relu"]))
            x = b.node(op, x, name=name)
    mean = b.node("reduce_mean", x, name="mean", axes=[2, 3], keepdims=0)
    graph = b.done(b.dense(mean, 4, name="fc"))
    graph.canonicalize()
    return graph


@settings(max_examples=25)
@given(chains())
def test_float_round_trip(graph):
    again = from_onnx(to_onnx(graph)[0])
    assert_same_graph(again, graph)


@settings(max_examples=15)
@given(chains())
def test_int8_round_trip(graph):
    shape = graph.inputs[0].shape[1:]
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights lose accuracy
        model = tersor.compress(graph, recipe="int8", calibration=x)
    again = from_onnx(to_onnx(model.graph)[0])
    assert_same_graph(again, model.graph)
    np.testing.assert_array_equal(tersor.Session(again)(x), tersor.Session(model)(x))


# Keras 3.15 on NumPy 2: variables lack the copy argument of __array__.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", trained.NETWORKS)
def test_same_classes_in_onnx_runtime(name, tmp_path):
    model, prepare = trained.int8(name)
    images = trained.images()
    model.export(tmp_path / "n.onnx")
    x = prepare(images.x)
    expected = tersor.Session(model)(x).argmax(1)
    parts = np.split(x, 20)
    run = runtime(tmp_path / "n.onnx")
    y = np.concatenate([run(part)[0] for part in parts])
    assert (y.argmax(1) == expected).mean() >= 0.995
    model.export(tmp_path / "plain.onnx", rounding="runtime")
    run = runtime(tmp_path / "plain.onnx")
    y = np.concatenate([run(part)[0] for part in parts[:5]])
    assert (y.argmax(1) == expected[:250]).mean() >= 0.95


def test_messages(tmp_path):
    graph = networks.residual_network()
    with pytest.raises(ValueError, match=r"path must end in \.onnx.* got 'n.txt'"):
        export(graph, tmp_path / "n.txt")
    with pytest.raises(ValueError, match=r"format must be one of onnx.* got 'onx' \(did you mean"):
        export(graph, tmp_path / "n.bin", "onx")
    with pytest.raises(FileNotFoundError, match="the folder of path must exist"):
        export(graph, tmp_path / "no" / "n.onnx")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(FileExistsError, match="path must be a file, got the folder"):
        export(graph, tmp_path / "d.onnx")
    with pytest.raises(TypeError, match="model must be a Graph or a CompressedModel, got int"):
        export(3, tmp_path / "n.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["d.onnx"]


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "n.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        export(networks.residual_network(), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tersor.preprocess", "[1]"), ("tersor.preprocess", '{"mean": "x"}'),
        ("tersor.rounding", '{"a1": 1}'), ("tersor.narrow_weights", '{"a1": "int3"}'),
        ("tersor.narrow_weights", "{"),
    ],
)  # fmt: skip
def test_hostile_notes(key, value):
    model, _ = to_onnx(networks.residual_network())
    model.metadata_props.add(key=key, value=value)
    with pytest.raises(tersor.ImportFormatError, match="metadata of tersor is not valid"):
        from_onnx(model)


def test_outputs_that_are_returned_twice():
    b = networks.Builder()
    y = b.node("relu", b.input((3,)), name="y")
    graph = b.done(y)
    graph.set_outputs([y, y])
    model, _ = to_onnx(graph)
    x = np.array([[-1, 0, 2]], np.float32)
    for array in runtime(model.SerializeToString())(x):
        np.testing.assert_array_equal(array, np.maximum(x, 0))
