"""Weight-only quantization of a graph: formats, what is left, what is refused."""

import numpy as np
import pytest

import tersor
from tersor import GraphError, _core
from tersor.quantization import dequantize, quantize

WeightFormat = _core.graph.WeightFormat
SHAPES = {
    "conv": (6, 4, 3, 3),
    "conv_transpose": (4, 6, 3, 3),
    "dense": (10, 70),
    "matmul": (70, 10),
}


def one_layer(op, w=None, **attributes):
    rng = np.random.default_rng(0)
    w = rng.normal(size=SHAPES[op]).astype(np.float32) if w is None else w
    graph = tersor.Graph()
    width = w.shape[1] if op == "dense" else 70
    shape = (None, 4, 8, 8) if op.startswith("conv") else (None, width)
    inputs = [graph.add_input("x", "float32", shape), graph.add_constant("w", w, "net.weight")]
    graph.set_outputs([graph.add_node(op, inputs, attributes, "layer")])
    graph.verify()
    return graph


@pytest.mark.parametrize("op", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {"bits": 8},
        {"bits": 4, "group_size": 32},
        {"bits": 3, "group_size": 16, "float_zero_point": True},
        {"bits": 2, "least_squares": True},
    ],
)
def test_formats(op, settings):
    graph = one_layer(op)
    w = graph.edge("w").constant
    assert graph.quantize_weights_only({"layer": WeightFormat(**settings)}) == {}
    graph.verify()
    edge = graph.edge("w")
    q = edge.qparams
    assert (q.bits, q.group_size) == (settings["bits"], settings.get("group_size", 0))
    assert (q.zero_point_float is not None) == settings.get("float_zero_point", False)
    assert (edge.dtype, edge.origin) == ("int8", "net.weight")
    np.testing.assert_array_equal(edge.constant, quantize(w, q))
    np.testing.assert_array_equal(q.scale, q.scale.astype(np.float16))
    channel_axis = {"conv": 0, "dense": 0, "conv_transpose": 1, "matmul": 1}[op]
    if not q.group_size:
        assert (q.axis, len(q.scale)) == (channel_axis, w.shape[channel_axis])
    else:  # groups run along what an output sums over
        per_output = w.size // w.shape[channel_axis]
        assert len(q.scale) >= w.shape[channel_axis] * -(-per_output // q.group_size)
    assert graph.decode_weights() == 1
    np.testing.assert_array_equal(graph.edge("w").constant, dequantize(edge.constant, q))
    graph.verify()


def test_scales_beyond_float16_stay_float32():
    for factor in (1e-7, 1e7):
        graph = one_layer("dense", factor * np.eye(10, 70, dtype=np.float32))
        graph.quantize_weights_only({"layer": WeightFormat(4, group_size=32)})
        reals = dequantize(graph.edge("w").constant, graph.edge("w").qparams)
        np.testing.assert_allclose(np.diag(reals), factor, rtol=1e-6)


def test_dynamic_is_for_dense_layers():
    graph = one_layer("dense")
    assert graph.quantize_weights_only({"layer": WeightFormat(8, dynamic=True)}) == {}
    graph.verify()
    assert graph.nodes[0].attributes["dynamic"] == 1
    graph.decode_weights()
    assert graph.nodes[0].attributes["dynamic"] == 0
    graph = one_layer("conv")
    left = graph.quantize_weights_only({"layer": WeightFormat(8, dynamic=True)})
    assert left == {"layer": "dynamic int8 is for dense layers"}


def test_what_is_left_and_why():
    w = np.ones((10, 70), np.float32)
    w[3, 4] = np.nan
    assert one_layer("dense", w).quantize_weights_only({"layer": WeightFormat(4)}) == {
        "layer": "its weight is not finite"
    }
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 5))
    w = graph.add_constant("w", np.ones((5, 5), np.float32))
    y = graph.add_node("dense", [x, w], {}, "layer")
    graph.set_outputs([graph.add_node("matmul", [y, w], {}, "other")])
    left = graph.quantize_weights_only({"layer": WeightFormat(4)})
    assert left == {"layer": "its weight is also used otherwise"}


def test_a_tied_weight_is_quantized_once():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 5))
    w = graph.add_constant("w", np.eye(5, dtype=np.float32))
    y = graph.add_node("dense", [x, w], {}, "a")
    graph.set_outputs([graph.add_node("dense", [y, w], {}, "b")])
    assert graph.quantize_weights_only({"a": WeightFormat(4), "b": WeightFormat(4)}) == {}
    graph.verify()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"bits": 9}, r"bits must be in \[2, 8\], got 9 for layer"),
        ({"bits": 1}, r"bits must be in \[2, 8\], got 1"),
        ({"bits": 4, "group_size": -1}, "group_size must be >= 0, got -1"),
        ({"bits": 4, "dynamic": True}, "dynamic must have 8 bits, no groups"),
    ],
)
def test_mistakes(settings, text):
    with pytest.raises(ValueError, match=text):
        one_layer("dense").quantize_weights_only({"layer": WeightFormat(**settings)})


def test_names_must_be_those_of_layers():
    graph = one_layer("dense")
    with pytest.raises(ValueError, match="node must be one of the graph, got 'none'"):
        graph.quantize_weights_only({"none": WeightFormat(4)})


def test_codes_chosen_elsewhere():
    graph = one_layer("dense")
    q = graph.weight_code_qparams("layer", WeightFormat(4, group_size=32))
    codes = np.full((10, 70), 7, np.int8)
    graph.set_weight_codes("layer", codes, q)
    graph.verify()
    np.testing.assert_array_equal(graph.edge("w").constant, codes)
    for wrong, text in (
        (codes[:5], r"codes must be int8 or uint8 of shape \[10, 70\]"),
        (codes + 1, r"codes must be in \[-7, 7\], got 8"),
        (codes.astype(np.uint8), "codes must be int8, got uint8"),
        (codes.astype(np.int32), "codes must be int8 or uint8 .* got int32"),
    ):
        with pytest.raises(ValueError, match=text):
            graph.set_weight_codes("layer", wrong, q)
    with pytest.raises(ValueError, match="must be a layer with a weight, got none"):
        graph.weight_code_qparams("none", WeightFormat(4))


def test_the_verifier_refuses_codes_elsewhere():
    q = _core.quantization.QParams(scale=[0.1], zero_point=[0])
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 5))
    w = graph.add_constant("w", np.ones(5, np.int8), "", q)
    graph.set_outputs([graph.add_node("add", [x, w], {}, "layer")])
    with pytest.raises(GraphError, match=r"layer .add.: codes must be its constant weight"):
        graph.verify()
    graph = one_layer("dense", dynamic=0)
    graph.quantize_weights_only({"layer": WeightFormat(4, group_size=16)})
    grouped = tersor.Graph()
    inputs = [
        grouped.add_input("x", "float32", (None, 70)),
        grouped.add_constant("w", graph.edge("w").constant, "", graph.edge("w").qparams),
    ]
    grouped.set_outputs([grouped.add_node("dense", inputs, {"dynamic": 1}, "layer")])
    with pytest.raises(GraphError, match="dynamic layer must have symmetric codes"):
        grouped.verify()
    with pytest.raises(GraphError, match="a dynamic layer must have weight codes"):
        one_layer("dense", dynamic=1)


def test_match_layers():
    graph = one_layer("dense")
    match = _core.graph.match_layers
    assert match(graph, []) == [-1]
    assert match(graph, ["lay*", "net.?eight"]) == [1]
    with pytest.raises(ValueError, match="pattern must match a layer, got 'fc'"):
        match(graph, ["fc"])


def test_narrow_some_nodes():
    graph = one_layer("dense")
    assert graph.narrow_weights("float16", ["other"]) == 0
    assert graph.narrow_weights("float16", ["layer"]) == 1
    assert graph.edge("w").dtype == "float16"


def test_files_hold_packed_codes(tmp_path):
    for bits, group, expected in ((4, 32, 4.5), (3, 32, 3.5), (8, 0, 8)):
        graph = one_layer("dense", np.random.default_rng(0).normal(size=(96, 1024)).astype("f"))
        graph.quantize_weights_only({"layer": WeightFormat(bits, group_size=group)})
        stored = {}
        for profile in (None, "fast"):
            data = tersor.artifact.encode(graph, profile=profile)
            edge = tersor.artifact.decode(data)[0].edge("w")
            np.testing.assert_array_equal(edge.constant, graph.edge("w").constant)
            assert edge.qparams == graph.edge("w").qparams
            streams = _core.artifact.inspect(data)["streams"]
            stored[profile] = sum(s["length"] for s in streams if s["edge"] == "w")
        assert stored[None] * 8 / edge.constant.size == pytest.approx(expected, abs=0.02)
        assert stored["fast"] <= stored[None]


def test_dynamic_comes_back_and_plain_files_stay_the_same():
    graph = one_layer("dense")
    before = tersor.artifact.encode(graph)
    graph.quantize_weights_only({"layer": WeightFormat(8, dynamic=True)})
    back = tersor.artifact.decode(tersor.artifact.encode(graph))[0]
    assert back.nodes[0].attributes["dynamic"] == 1
    plain = tersor.artifact.decode(before)[0]
    assert plain.nodes[0].attributes.get("dynamic", 0) == 0
    assert tersor.artifact.encode(plain) == before


def int8_layer(w, qw):
    """A quantized dense layer with a bias."""
    graph = tersor.Graph()
    QParams = _core.quantization.QParams
    x = graph.add_input("x", "float32", (None, w.shape[1]))
    codes = graph.add_node("quantize", [x], {}, "q", "xq", QParams(scale=[0.05], zero_point=[3]))
    weight = graph.add_constant("w", w, "net.weight", qw)
    steps = (np.float32(0.05) * np.asarray(qw.scale)).tolist()
    bias = graph.add_constant(
        "b",
        np.arange(len(w), dtype=np.int32),
        "",
        QParams(scale=steps, zero_point=[0] * len(w), bits=32, axis=0),
    )
    y = graph.add_node(
        "dense", [codes, weight, bias], {}, "layer", "yq", QParams(scale=[0.5], zero_point=[0])
    )
    graph.set_outputs([graph.add_node("dequantize", [y], {}, "dq", "y")])
    graph.verify()
    return graph


def codebook_qparams(table, scale=(1.0,), axis=None):
    return _core.quantization.QParams(
        scale=list(scale), zero_point=[0] * len(scale), axis=axis, codebook=table
    )


@pytest.mark.parametrize("op", SHAPES)
def test_codebooks_of_float_layers(op):
    graph = one_layer(op)
    shape = SHAPES[op]
    rng = np.random.default_rng(1)
    tables = 2 if shape[0] % 2 == 0 else 1
    q = codebook_qparams(np.sort(rng.normal(size=(tables, 5)).astype(np.float32), axis=1))
    codes = rng.integers(0, 5, shape).astype(np.uint8)
    graph.set_weight_codes("layer", codes, q)
    graph.verify()
    assert graph.constant_bytes == -(-codes.size * 3 // 8) + 4 * 5 * tables
    x = rng.normal(size=(3, *graph.edge("x").shape[1:])).astype(np.float32)
    plain = one_layer(op, dequantize(codes, q))
    np.testing.assert_array_equal(tersor.Session(graph)(x), tersor.Session(plain)(x))
    reference = tersor.Session(graph, provider="reference")(x)
    np.testing.assert_allclose(tersor.Session(graph)(x), reference, rtol=1e-4, atol=1e-4)
    back = tersor.artifact.decode(tersor.artifact.encode(graph))[0]
    assert back.edge("w").qparams == q
    np.testing.assert_array_equal(back.edge("w").constant, codes)
    assert back.decode_codebooks() == 1
    np.testing.assert_array_equal(back.edge("w").constant, dequantize(codes, q))


def test_codebooks_of_int8_layers_run_as_int8():
    rng = np.random.default_rng(2)
    table = np.float32([-127, -3, 0, 9, 127])
    codes = rng.integers(0, 5, (6, 40)).astype(np.uint8)
    scale = rng.uniform(0.01, 0.02, 6).astype(np.float32)
    clustered = int8_layer(codes, codebook_qparams(table, scale, 0))
    plain = int8_layer(
        table[codes].astype(np.int8),
        _core.quantization.QParams(scale=scale, zero_point=[0] * 6, narrow=True, axis=0),
    )
    x = rng.normal(size=(4, 40)).astype(np.float32)
    for options in ({}, {"arithmetic": "exact"}, {"provider": "reference"}):
        np.testing.assert_array_equal(
            tersor.Session(clustered, **options)(x), tersor.Session(plain, **options)(x)
        )
    back = tersor.artifact.decode(tersor.artifact.encode(clustered))[0]
    np.testing.assert_array_equal(back.edge("w").qparams.codebook, table[None])
    np.testing.assert_array_equal(back.edge("w").qparams.scale, scale)
    assert back.decode_codebooks() == 1
    back.verify()
    assert back.edge("w").qparams == plain.edge("w").qparams
    np.testing.assert_array_equal(back.edge("w").constant, plain.edge("w").constant)


@pytest.mark.parametrize("table", [[0.0, 0.5], [0.0, 128.0]])
def test_int8_layers_want_integers(table):
    with pytest.raises(GraphError, match=r"int8 layer must hold integers in \[-127, 127\]"):
        int8_layer(np.zeros((3, 4), np.uint8), codebook_qparams(table, [1.0] * 3, 0))


def test_codebooks_are_checked():
    graph = one_layer("dense")
    q = codebook_qparams([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"codes must be in \[0, 2\], got 3"):
        graph.set_weight_codes("layer", np.full((10, 70), 3, np.uint8), q)
    with pytest.raises(ValueError, match="codes must be uint8, got int8"):
        graph.set_weight_codes("layer", np.zeros((10, 70), np.int8), q)
    with pytest.raises(ValueError, match="codebook must ascend"):
        graph.set_weight_codes("layer", np.zeros((10, 70), np.uint8), codebook_qparams([1.0, 0.0]))
    other = tersor.Graph()
    x = other.add_input("x", "float32", (None, 5))
    w = other.add_constant("w", np.full((5, 5), 3, np.uint8), "", q)
    other.set_outputs([other.add_node("dense", [x, w], {}, "layer")])
    with pytest.raises(GraphError, match=r"edge w: codes must be in \[0, 2\], got 3"):
        other.verify()
