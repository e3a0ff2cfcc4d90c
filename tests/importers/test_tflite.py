"""TFLite files: the function, the quantization to the bit, and files that lie."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tests import datasets, networks
from tests.compress import networks as compressible
from tests.exporters.litert import litert, micro
from tests.runtime import operator_cases as cases

tflite = pytest.importorskip("tflite")

from tersor.exporters.tflite import to_tflite  # noqa: E402
from tersor.exporters.tflite_writer import Operator, Tensor, TfliteModel  # noqa: E402
from tersor.importers.tflite import from_tflite  # noqa: E402


def exported(graph):
    try:
        return to_tflite(graph, layout="source")[0]
    except tersor.UnsupportedError:
        pytest.skip("has no TFLite form")


@pytest.mark.parametrize("case", cases.CASES, ids=lambda c: c.id)
def test_float_operators(case):
    inputs, constants = cases.draw(case)
    graph = cases.build(case, inputs, constants)
    again = from_tflite(exported(graph))
    expected = np.asarray(tersor.Session(graph, provider="reference")(*inputs))
    got = np.asarray(tersor.Session(again, provider="reference")(*inputs))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert [e.name for e in again.inputs] == [e.name for e in graph.inputs]


@pytest.mark.parametrize(
    "case", [c for c in cases.CASES if c.constraint != "none"], ids=lambda c: c.id
)
def test_operators_on_codes(case):
    if case.op == "expand" or (case.op == "matmul" and case.constants):
        return  # BROADCAST_TO and constant factors on codes are not read
    q = cases.quantized(case)
    again = from_tflite(exported(q.graph))
    exact = {"provider": "reference", "arithmetic": "exact"}
    expected = np.asarray(tersor.Session(q.graph, **exact)(*q.inputs))
    got = np.asarray(tersor.Session(again, **exact)(*q.inputs))
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ends", ["float32", "int8"])
def test_quantization_is_kept(ends):
    graph = networks.int8_residual_network()
    again = from_tflite(to_tflite(graph, ends=ends)[0])
    x = networks.images(5)
    image = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    found = [e for e in again.edges if e.is_constant and e.dtype == "int8"]
    for edge in found:
        ours = graph.edge(edge.name)
        np.testing.assert_array_equal(ours.constant, edge.constant)
        assert list(ours.qparams.scale) == list(edge.qparams.scale)
        assert ours.qparams.axis == edge.qparams.axis
    assert len(found) == 7
    if ends == "float32":
        np.testing.assert_array_equal(tersor.Session(again)(image), tersor.Session(graph)(x))
        kept = tersor.compress(again, recipe="keep")
        np.testing.assert_array_equal(tersor.Session(kept)(image), tersor.Session(graph)(x))
    else:
        assert (again.inputs[0].dtype, again.outputs[0].dtype) == ("int8", "int8")
        codes = np.random.default_rng(0).integers(-128, 128, image.shape).astype(np.int8)
        y = tersor.Session(again, arithmetic="exact")(codes)
        np.testing.assert_array_equal(y, litert(to_tflite(graph, ends=ends)[0], [codes])[0])


@pytest.mark.parametrize("name", ["resnet8-cifar10-float", "kws-dscnn-float"])
def test_trained_networks(name):
    path = datasets.find(f"models/{name}.tflite")
    graph = tersor.load(path)
    assert graph.description == path.name
    rng = np.random.default_rng(0)
    shape = graph.inputs[0].shape[1:]
    x = rng.uniform(0, 255, (4, *shape)).astype(np.float32)
    (y,) = litert(path.read_bytes(), [x])
    # The second file has int8 weights, with which LiteRT quantizes activations too.
    np.testing.assert_allclose(tersor.Session(graph)(x), y, atol=1e-5 if "resnet" in name else 0.2)
    assert sum(n.op == "transpose" for n in graph.nodes) <= 1


def test_dscnn_quantized_has_the_bits_of_tflite_micro():
    graph = tersor.load(datasets.find("models/kws-dscnn-float.tflite"))
    rng = np.random.default_rng(0)
    x = (10 * rng.normal(size=(164, 49, 10, 1))).astype(np.float32)
    model = tersor.compress(graph, recipe="int8", calibration=x[:64])
    data, _ = to_tflite(model.graph, ends="int8")
    edges = model.graph.edges
    first = edges[next(n for n in model.graph.nodes if n.op == "quantize").outputs[0]]
    codes = np.rint(x[64:] / first.qparams.scale[0]) + first.qparams.zero_point[0]
    y = micro(data, np.clip(codes, -128, 127).astype(np.int8))
    expected = tersor.Session(model, arithmetic="exact")(x[64:])
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)  # softmax in float
    values = tersor.Session(model, arithmetic="exact").taps(x[64:])
    last = edges[next(n for n in model.graph.nodes if n.op == "dequantize").inputs[0]].name
    part = model.graph.clone()
    part.set_outputs([last])
    part.remove_dead_nodes()
    data, _ = to_tflite(part, ends="int8")
    y = micro(data, np.clip(codes, -128, 127).astype(np.int8))
    np.testing.assert_array_equal(y, values[last])


def test_weights_behind_dequantize_stay_codes():
    graph = compressible.residual()
    model = tersor.compress(graph, recipe="w8a32")
    again = from_tflite(to_tflite(model.graph)[0])
    kinds = {again.edge(n.inputs[1]).dtype for n in again.nodes if n.op in ("conv", "dense")}
    assert kinds == {"int8"}
    x = compressible.images(3)
    y = tersor.Session(again)(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(y, tersor.Session(model)(x), rtol=1e-4, atol=1e-4)


def test_numbers_of_operators_in_the_newer_field_only():
    """As ai-edge-quantizer writes QUANTIZE and DEQUANTIZE."""
    data = bytearray(small())
    model = tflite.Model.GetRootAsModel(data, 0)
    for i in range(model.OperatorCodesLength()):
        table = model.OperatorCodes(i)._tab
        if table.Offset(4):
            data[table.Offset(4) + table.Pos] = 0
    again = from_tflite(bytes(data))
    assert [n.op for n in again.nodes] == [n.op for n in from_tflite(small()).nodes]


def test_weights_behind_the_tables():
    """As ai-edge-quantizer writes 256 KiB of them and more, and as files beyond 2 GB must be."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(small()))
    held = {i: bytes(b.data) for i, b in enumerate(tree.buffers) if b.data is not None}

    def written(start):
        behind = b""
        for i, data in held.items():
            buffer = tree.buffers[i]
            buffer.data, buffer.offset, buffer.size = None, start + len(behind), len(data)
            behind += data
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(tree.Pack(builder), b"TFL3")
        return bytes(builder.Output()), behind

    tables, _ = written(1 << 16)
    tables, behind = written(len(tables))
    again = from_tflite(tables + behind)
    x = np.ascontiguousarray(networks.images(3).transpose(0, 2, 3, 1))
    expected = tersor.simulate(from_tflite(small()), x)
    np.testing.assert_array_equal(tersor.simulate(again, x), expected)
    with pytest.raises(tersor.ImportFormatError, match=r"lies at bytes \d+ to \d+ of a file of"):
        from_tflite(tables + behind[:-1])


# LiteRT warns that the quantizer keeps all tensors.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("ends", ["int8", "float32"])
@pytest.mark.parametrize("name", ["resnet8-cifar10-float", "kws-dscnn-float"])
def test_full_int8_files_of_another_quantizer(name, ends, tmp_path):
    """Codes or floats in and out, a softmax on codes: the bits of TFLite Micro."""
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    recipe = pytest.importorskip("ai_edge_quantizer.recipe")
    graph = tersor.load(datasets.find(f"models/{name}.tflite"))
    tersor.exporters.export(graph, tmp_path / "float.tflite")  # adds the signature that it needs
    rng = np.random.default_rng(0)
    shape = graph.inputs[0].shape[1:]
    x = rng.uniform(0, 255, (60, *shape)).astype(np.float32)
    rules = list(recipe.static_wi8_ai8())
    if ends == "float32":
        rules += [
            {"regex": ".*", "operation": end, "algorithm_key": "no_quantize"}
            for end in ("INPUT", "OUTPUT")
        ]
    made = quantizer.Quantizer(str(tmp_path / "float.tflite"), rules)
    samples = [{graph.inputs[0].name: row[None]} for row in x[:20]]
    data = bytes(made.quantize(made.calibrate({"serving_default": samples})).quantized_model)
    again = from_tflite(data)
    edge = again.inputs[0]
    assert (edge.dtype, again.outputs[0].dtype) == (ends, ends)
    samples = x[20:]
    if ends == "int8":
        codes = np.rint(samples / edge.qparams.scale[0]) + edge.qparams.zero_point[0]
        samples = np.clip(codes, -128, 127).astype(np.int8)
    expected = micro(data, samples)
    np.testing.assert_array_equal(tersor.simulate(again, samples), expected)
    tersor.exporters.export(again, tmp_path / "c", format="c")
    host = tersor.exporters.HostModel(tmp_path / "c", flags=("-std=c99", "-O1"))
    np.testing.assert_array_equal(host(samples), expected)


@pytest.mark.parametrize(("op", "scale", "zero"), [("softmax", 1 / 256, -128),
                                                    ("sigmoid", 1 / 256, -128),
                                                    ("tanh", 1 / 128, 0)])  # fmt: skip
@pytest.mark.parametrize("step", [0.02, 0.1, 0.4])
def test_tables_have_the_bits_of_tflite_micro(op, scale, zero, step):
    graph = tersor.Graph()
    x = graph.add_input("x", "int8", (None, 10))
    graph.set_qparams(x, networks.qparams(step, 3))
    attributes = {"axis": -1} if op == "softmax" else {}
    out = networks.qparams(scale, zero)
    graph.set_outputs([graph.add_node(op, [x], attributes, op, op, qparams=out)])
    codes = np.random.default_rng(0).integers(-128, 128, (100, 10)).astype(np.int8)
    expected = tersor.Session(graph, arithmetic="exact")(codes)
    np.testing.assert_array_equal(micro(to_tflite(graph)[0], codes), expected)


# -- files that lie


def small():
    data, _ = to_tflite(networks.int8_residual_network())
    return data


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 100, b"\x10\x00\x00\x00TFL3"])
def test_no_tflite_file(data):
    with pytest.raises(tersor.ImportFormatError):
        from_tflite(data)


def test_cut_files():
    data = small()
    for size in range(0, len(data) - 1, 97):
        with pytest.raises((tersor.ImportFormatError, tersor.UnsupportedError)):
            from_tflite(data[:size])


@settings(max_examples=150)
@given(st.data())
def test_damaged_files(draw):
    data = bytearray(small())
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.sampled_from([0, 1, 127, 128, 255]))
    # ImportFormatError is a GraphError.
    with contextlib.suppress(tersor.GraphError, tersor.UnsupportedError):
        from_tflite(bytes(data)).verify()


def hand_made(operator, shape=(1, 4), out=(1, 4), constant=None, **parameters):
    """A file of one operator from x (and a constant) to y."""
    model = TfliteModel()
    x = model.tensor(Tensor("x", "float32", shape))
    y = model.tensor(Tensor("y", "float32", out, **parameters))
    inputs = [x] if constant is None else [x, model.tensor(Tensor("c", "int32", constant.shape,
                                                                  constant))]  # fmt: skip
    model.inputs, model.outputs = [x], [y]
    model.operators.append(Operator(operator[0], inputs, [y], 1, *operator[1:]))
    return model


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (hand_made(("FLOOR",)), r"operator 0 \(FLOOR\) is not supported; supported TFLite"),
        (hand_made(("RELU",), out=(1, 5)), "its output has shape .* but the file says"),
        (hand_made(("RESHAPE",), out=(1, 7)), "does not fit"),
        (
            hand_made(("TRANSPOSE",), constant=np.array([0, 0], np.int32)),
            "is no permutation",
        ),
        (hand_made(("MEAN",), constant=np.array([7], np.int32)), "axes .* do not exist"),
        (hand_made(("CONV_2D",)), "must have 4 dimensions"),
        (hand_made(("ADD",)), "input 1 is missing"),
    ],
)
def test_refusals(model, text):
    with pytest.raises((tersor.ImportFormatError, tersor.UnsupportedError), match=text):
        from_tflite(model.encode(""))


def test_a_batch_that_is_mixed_stays_fixed():
    model = hand_made(("MEAN",), shape=(1, 4), out=(4,), constant=np.array([0], np.int32))
    graph = from_tflite(model.encode(""))
    assert graph.inputs[0].shape == (1, 4)
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.testing.assert_array_equal(tersor.Session(graph)(x), x[0])
