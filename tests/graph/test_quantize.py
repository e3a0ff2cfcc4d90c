"""Placement of quantizers and the int8 graph made of it."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.quantization import dequantize

G = _core.graph
RNG = np.random.default_rng


def weights(shape, seed=0):
    return RNG(seed).normal(size=shape).astype(np.float32)


def conv(graph, x, out, name, kernel=3, bias=True, **attributes):
    channels = graph.edge(x).shape[1] // attributes.get("groups", 1)
    inputs = [
        x,
        graph.add_constant(f"{name}.w", weights((out, channels, kernel, kernel)), f"{name}.weight"),
    ]
    if bias:
        inputs.append(graph.add_constant(f"{name}.b", weights(out, 1), f"{name}.bias"))
    attributes.setdefault("pads", [kernel // 2] * 4)
    return graph.add_node("conv", inputs, attributes, name)


def start(shape=(None, 3, 8, 8)):
    graph = tersor.Graph()
    return graph, graph.add_input("x", "float32", shape)


def finish(graph, *outputs):
    graph.set_outputs(list(outputs))
    graph.verify()
    return graph


def residual_network():
    graph, x = start()
    a = conv(graph, x, 4, "stem", activation="relu")
    b = conv(graph, a, 4, "inner")
    c = graph.add_node("add", [a, b], {"activation": "relu"}, "sum")
    d = graph.add_node("max_pool", [c], {"kernel": [2, 2], "strides": [2, 2]}, "pool")
    e = graph.add_node("reduce_mean", [d], {"axes": [2, 3], "keepdims": 0}, "mean")
    w = graph.add_constant("fc.w", weights((5, 4)))
    bias = graph.add_constant("fc.b", weights(5))
    return finish(graph, graph.add_node("dense", [e, w, bias], {}, "fc"))


def ranges_of(graph, placement, x):
    """Min and max of each group over its sources, by the reference session."""
    values = tersor.Session(graph, provider="reference").taps(x)
    out = []
    for group in placement.groups:
        seen = [values[graph.edge(e).name] for e in group.sources if not graph.edge(e).is_constant]
        out.append((min(v.min() for v in seen), max(v.max() for v in seen)) if seen else (0.0, 0.0))
    return out


def quantized(graph, x, rules=(), **options):
    placement = G.place_quantizers(graph, list(rules))
    qparams = G.group_qparams(graph, placement, ranges_of(graph, placement, x))
    return placement, G.apply_quantization(graph, placement, qparams, **options)


def by_name(graph):
    return {node.name: node for node in graph.nodes}


def decibels(wanted, got):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum())


def test_whole_network_is_int8_between_its_ends():
    graph = residual_network()
    x = RNG(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    placement, q = quantized(graph, x)
    assert all(placement.quantized)
    assert not any(placement.reasons)
    assert [n.op for n in q.nodes if n.op in ("quantize", "dequantize", "requantize")] == [
        "quantize",
        "dequantize",
    ]
    assert [e.name for e in (q.edge(q.input_ids[0]), q.edge(q.output_ids[0]))] == ["x", "fc:0"]
    for node in q.nodes:
        expected = "float32" if node.op == "dequantize" else "int8"
        assert q.edge(node.outputs[0]).dtype == expected
    wanted = tersor.Session(graph)(x)
    for arithmetic in ("fast", "exact"):
        got = tersor.Session(q, arithmetic=arithmetic)(x)
        assert decibels(wanted, got) > 30


def test_copying_operators_share_parameters():
    graph = residual_network()
    placement = G.place_quantizers(graph)
    nodes = by_name(graph)
    group_of = placement.group_of
    assert group_of[nodes["sum"].outputs[0]] == group_of[nodes["pool"].outputs[0]]
    assert group_of[nodes["pool"].outputs[0]] != group_of[nodes["mean"].outputs[0]]
    shared = placement.groups[group_of[nodes["sum"].outputs[0]]]
    assert shared.sources == [nodes["sum"].outputs[0]]


def test_concat_shares_one_range_and_taps_every_source():
    graph, x = start()
    a, b = conv(graph, x, 4, "a"), conv(graph, x, 2, "b")
    c = graph.add_node("concat", [a, b], {"axis": 1}, "cat")
    finish(graph, conv(graph, c, 3, "c"))
    placement = G.place_quantizers(graph)
    group = placement.groups[placement.group_of[c]]
    assert sorted(group.edges) == sorted([a, b, c])
    assert sorted(group.sources) == sorted([a, b])
    data = RNG(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    _, q = quantized(graph, data)
    assert not [n for n in q.nodes if n.op == "requantize"]


def test_fixed_parameters_meet_others_through_requantize():
    graph, x = start()
    a = conv(graph, x, 4, "a")
    s = graph.add_node("sigmoid", [a], {}, "sig")
    c = graph.add_node("concat", [s, a], {"axis": 1}, "cat")
    finish(graph, conv(graph, c, 3, "c"))
    data = RNG(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    placement, q = quantized(graph, data)
    fixed = placement.groups[placement.group_of[s]].fixed
    assert (fixed.scale.tolist(), fixed.zero_point.tolist()) == ([1 / 256], [-128])
    assert [n.op for n in q.nodes].count("requantize") == 1
    assert decibels(tersor.Session(graph)(data), tersor.Session(q)(data)) > 25


def test_squeeze_and_excite_stays_int8():
    graph, x = start()
    a = conv(graph, x, 8, "a")
    h = graph.add_node("hard_swish", [a], {}, "act")
    m = graph.add_node("reduce_mean", [h], {"axes": [2, 3], "keepdims": 1}, "squeeze")
    r = conv(graph, m, 4, "reduce", 1, activation="relu")
    e = graph.add_node("hard_sigmoid", [conv(graph, r, 8, "expand", 1)], {}, "gate")
    finish(graph, conv(graph, graph.add_node("mul", [h, e], {}, "scale"), 3, "b", 1))
    data = RNG(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    placement, q = quantized(graph, data)
    assert all(placement.quantized)
    assert decibels(tersor.Session(graph)(data), tersor.Session(q)(data)) > 22


def test_constants_of_elementwise_operators_are_quantized():
    graph, x = start()
    a = conv(graph, x, 4, "a")
    k = graph.add_constant("k", RNG(0).uniform(0.5, 2, (1, 4, 1, 1)).astype(np.float32))
    m = graph.add_node("mul", [a, k], {}, "scale")
    finish(graph, conv(graph, m, 3, "b"))
    data = RNG(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    _, q = quantized(graph, data)
    edge = q.edge(by_name(q)["scale"].inputs[1])
    assert edge.dtype == "int8"
    step = float(edge.qparams.scale[0])
    np.testing.assert_allclose(
        dequantize(edge.constant, edge.qparams), graph.edge(k).constant, atol=step
    )


def test_float_layers_have_reasons():
    graph, x = start()
    a = conv(graph, x, 4, "a")
    f = graph.add_node("log", [graph.add_node("abs", [a], {}, "abs")], {}, "log")
    lonely = graph.add_node("relu", [graph.add_node("sqrt", [f], {}, "root")], {}, "lonely")
    s = graph.add_node("softmax", [conv(graph, lonely, 4, "b")], {"axis": 1}, "soft")
    finish(graph, s)
    placement = G.place_quantizers(graph, [("b", "fp32")])
    reasons = dict(zip([n.name for n in graph.nodes], placement.reasons, strict=True))
    assert reasons["a"] == reasons["abs"] == ""
    assert reasons["log"] == "log has no int8 form"
    assert reasons["lonely"] == "no int8 layer is joined to it"
    assert reasons["b"] == "the recipe says so (b)"
    assert reasons["soft"] == "softmax needs float accuracy"


def test_a_prelu_of_one_slope_is_a_leaky_relu():
    graph, x = start()
    first = conv(graph, x, 4, "a")
    one = graph.add_constant("one", np.float32([[[0.3]]]))
    y = graph.add_node("prelu", [first, one], {}, "single")
    many = graph.add_constant("many", RNG(0).uniform(0, 1, (4, 1, 1)).astype(np.float32))
    finish(graph, graph.add_node("prelu", [conv(graph, y, 4, "b"), many], {}, "each"))
    data = RNG(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    placement, q = quantized(graph, data)
    reasons = dict(zip([n.name for n in graph.nodes], placement.reasons, strict=True))
    assert reasons["single"] == ""
    assert reasons["each"] == "prelu has no int8 form but for one constant slope"
    node = by_name(q)["single"]
    assert (node.op, q.edges[node.outputs[0]].dtype) == ("leaky_relu", "int8")
    assert node.attributes["alpha"] == pytest.approx(0.3)
    assert decibels(tersor.Session(graph)(data), tersor.Session(q)(data)) > 22


def test_rules_match_names_outputs_and_origins_and_the_last_counts():
    graph = residual_network()

    def chosen(*rules):
        placement = G.place_quantizers(graph, list(rules))
        return [n.name for n, q in zip(graph.nodes, placement.quantized, strict=True) if not q]

    assert chosen(("inner", "fp32")) == ["inner"]
    assert chosen(("inn?r*", "fp32")) == ["inner"]
    assert chosen(("stem.weight", "fp32")) == ["stem"]
    assert chosen(("*", "fp32"), ("inner", "int8"), ("sum", "int8")) == [
        "stem",
        "pool",
        "mean",
        "fc",
    ]
    with pytest.raises(ValueError, match="pattern must match a layer, got 'layer9'"):
        chosen(("layer9", "fp32"))
    with pytest.raises(ValueError, match="values must be int8 or fp32, got 'int4' for stem"):
        chosen(("stem", "int4"))


def test_float_and_int8_layers_mix():
    graph = residual_network()
    data = RNG(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    _, q = quantized(graph, data, [("inner", "fp32")])
    inner = by_name(q)["inner"]
    assert [q.edge(i).dtype for i in inner.inputs] == ["float32"] * 3
    assert decibels(tersor.Session(graph)(data), tersor.Session(q)(data)) > 30
    _, q = quantized(graph, data, [("*", "fp32")])
    np.testing.assert_array_equal(tersor.Session(graph)(data), tersor.Session(q)(data))


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_and_biases_follow_the_scheme(per_channel):
    graph = residual_network()
    data = RNG(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    _, q = quantized(graph, data, dense_per_channel=per_channel)
    for name in ("stem", "inner", "fc"):
        node = by_name(q)[name]
        x, w, b = (q.edge(i) for i in node.inputs)
        assert (w.dtype, b.dtype, b.qparams.bits) == ("int8", "int32", 32)
        assert np.abs(w.constant.astype(int)).max() == 127
        original = graph.edge(w.name).constant
        channels = len(original)
        expected = np.abs(original).reshape(channels, -1).max(1) / 127
        if name == "fc" and not per_channel:
            expected = expected.max(keepdims=True)
        np.testing.assert_allclose(w.qparams.scale, expected, rtol=1e-6)
        scale = x.qparams.scale.astype(np.float64) * w.qparams.scale
        np.testing.assert_allclose(b.qparams.scale, scale, rtol=1e-6)
        np.testing.assert_array_equal(b.constant, np.rint(graph.edge(b.name).constant / scale))


def test_a_large_bias_widens_the_weight_scale():
    graph, x = start((None, 2, 4, 4))
    w = np.full((3, 2, 1, 1), 1e-6, np.float32)
    w[2] = 0
    bias = np.array([1e3, 1e-3, 5e4], np.float32)
    inputs = [x, graph.add_constant("w", w), graph.add_constant("b", bias)]
    finish(graph, graph.add_node("conv", inputs, {}, "c"))
    data = RNG(0).normal(size=(4, 2, 4, 4)).astype(np.float32)
    _, q = quantized(graph, data)
    node = by_name(q)["c"]
    s_in = q.edge(node.inputs[0]).qparams.scale[0]
    scale = q.edge(node.inputs[1]).qparams.scale
    codes = q.edge(node.inputs[2]).constant
    assert (np.abs(codes.astype(np.int64)) <= 2**30).all()
    np.testing.assert_allclose(scale[0], 1e3 / (s_in * 2**30), rtol=1e-5)
    np.testing.assert_allclose(scale[1], 1e-6 / 127, rtol=1e-5)
    np.testing.assert_allclose(codes * (s_in.astype(float) * scale), bias, rtol=1e-5)


def test_sums_that_could_overflow_stay_in_float():
    graph, x = start((None, 40_000))
    finish(
        graph, graph.add_node("dense", [x, graph.add_constant("w", weights((2, 40_000)))], {}, "d")
    )
    assert G.place_quantizers(graph).reasons == ["sums of 40000 products could overflow 32 bits"]


def test_conv_transpose_has_channels_on_axis_1():
    graph, x = start((None, 4, 5, 5))
    scale = np.array([1, 10, 100], np.float32)[:, None, None]
    w = graph.add_constant("w", weights((4, 3, 2, 2)) * scale)
    b = graph.add_constant("b", weights(3))
    c = graph.add_node("conv_transpose", [x, w, b], {"strides": [2, 2]}, "up")
    finish(graph, c)
    data = RNG(0).normal(size=(4, 4, 5, 5)).astype(np.float32)
    _, q = quantized(graph, data)
    node = by_name(q)["up"]
    qparams = q.edge(node.inputs[1]).qparams
    assert qparams.axis == 1
    expected = np.abs(graph.edge(w).constant).max((0, 2, 3)) / 127
    np.testing.assert_allclose(qparams.scale, expected, rtol=1e-6)
    assert decibels(tersor.Session(graph)(data), tersor.Session(q)(data)) > 25


def test_quantized_graphs_are_refused():
    graph = residual_network()
    data = RNG(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    _, q = quantized(graph, data)
    with pytest.raises(tersor.GraphError, match="graph must be float, got quantized edge"):
        G.place_quantizers(q)


@pytest.mark.parametrize(
    ("op", "weight", "shape", "attributes"),
    [
        ("conv", (5, 3, 3, 3), (3, 9, 8), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ("conv", (6, 2, 3, 2), (4, 9, 8), {"groups": 2, "dilations": [2, 1]}),
        ("conv", (4, 3, 3), (3, 10), {"pads": [1, 1]}),
        ("conv_transpose", (4, 3, 3, 3), (4, 5, 6), {"strides": [2, 2], "pads": [1, 1, 0, 1]}),
        ("conv_transpose", (4, 3, 2, 2), (4, 5, 6), {"groups": 2, "strides": [2, 1]}),
        ("dense", (5, 7), (7,), {}),
        ("dense", (5, 7), (3, 7), {}),
    ],
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_bias_correction_restores_the_mean_output(op, weight, shape, attributes, has_bias):
    graph, x = start((None, *shape))
    inputs = [x, graph.add_constant("w", weights(weight))]
    outputs = weight[0] if op != "conv_transpose" else weight[1] * attributes.get("groups", 1)
    if has_bias:
        inputs.append(graph.add_constant("b", weights(outputs)))
    finish(graph, graph.add_node(op, inputs, attributes, "layer"))
    data = RNG(0).uniform(0, 1, (20, *shape)).astype(np.float32)
    placement = G.place_quantizers(graph)
    qparams = G.group_qparams(graph, placement, ranges_of(graph, placement, data))
    corrected = G.correct_biases(graph, placement, qparams, {x: data.mean(0, keepdims=True)})
    # The corrected layer with rounded weights has the mean of the float one.
    q = G.apply_quantization(graph, placement, qparams)
    codes = q.edge(by_name(q)["layer"].inputs[1])
    rounded = tersor.Graph(corrected)
    rounded.set_constant(
        by_name(corrected)["layer"].inputs[1],
        np.ascontiguousarray(dequantize(codes.constant, codes.qparams)),
    )
    wanted, got = tersor.Session(graph)(data), tersor.Session(rounded)(data)
    axes = tuple(d for d in range(wanted.ndim) if d != (1 if op != "dense" else wanted.ndim - 1))
    np.testing.assert_allclose(got.mean(axes), wanted.mean(axes), rtol=1e-4, atol=1e-5)
    assert len(graph.nodes[0].inputs) == 2 + has_bias
