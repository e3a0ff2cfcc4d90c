"""Canonicalising passes: structure on hand-made graphs. Their function: tests/runtime."""

import numpy as np
import pytest

from tersor import GraphError, _core

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def conv_graph():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 3, 8, 8))
    w = g.add_constant("w", floats(4, 3, 3, 3))
    return g, g.add_node("conv", [x, w], {"pads": [1, 1, 1, 1]}, "conv")


def ops(g):
    return [n.op for n in g.nodes]


def test_batch_norm_relu_fold_into_the_convolution():
    g, y = conv_graph()
    w = g.edge("w").constant.copy()
    gamma, beta, mean = floats(4), floats(4), floats(4)
    var = np.abs(floats(4)) + 0.5
    parameters = [
        g.add_constant(n, v) for n, v in zip("gbmv", (gamma, beta, mean, var), strict=True)
    ]
    y = g.add_node(
        "relu", [g.add_node("batch_norm", [y, *parameters], {"epsilon": 1e-3})], {}, "relu", "out"
    )
    g.set_outputs([y])
    g.canonicalize()
    assert ops(g) == ["conv"]
    assert g.nodes[0].attributes["activation"] == "relu"
    scale = gamma / np.sqrt(var.astype(np.float64) + 1e-3)
    np.testing.assert_allclose(g.edge("w").constant, w * scale[:, None, None, None], rtol=1e-6)
    bias = g.edges[g.nodes[0].inputs[2]].constant
    np.testing.assert_allclose(bias, beta - scale * mean, rtol=1e-5, atol=1e-6)
    assert g.edges[g.output_ids[0]].name == "out"


def test_batch_norm_without_a_convolution_becomes_depthwise():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 4, 5, 5))
    parameters = [g.add_constant(n, v) for n, v in zip("gbmv", floats(3, 4), strict=False)]
    parameters.append(g.add_constant("v", np.ones(4, np.float32)))
    g.set_outputs([g.add_node("relu", [g.add_node("batch_norm", [x, *parameters])])])
    g.canonicalize()
    assert ops(g) == ["conv"]
    assert g.nodes[0].attributes["groups"] == 4


@pytest.mark.parametrize(
    ("start", "shape"), [("add", (4, 1, 1)), ("add", (1, 4, 1, 1)), ("mul", (4, 1, 1))]
)
def test_channel_constants_fold_into_the_convolution(start, shape):
    g, y = conv_graph()
    g.set_outputs([g.add_node(start, [g.add_constant("c", floats(*shape)), y])])
    g.canonicalize()
    assert ops(g) == ["conv"]


def test_spatial_constants_do_not_fold():
    g, y = conv_graph()
    g.set_outputs([g.add_node("add", [y, g.add_constant("c", floats(8, 8))])])
    g.canonicalize()
    assert ops(g) == ["conv", "add"]


def test_h_swish_and_gelu_and_silu_are_recognized():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 7))
    three, six = (g.add_constant(n, np.float32([v])) for n, v in (("three", 3), ("six", 6)))
    gate = g.add_node("clip", [g.add_node("add", [x, three])], {"min": 0.0, "max": 6.0})
    swish = g.add_node("div", [g.add_node("mul", [x, gate]), six])
    root, one, half = (
        g.add_constant(n, np.array(v, np.float32))
        for n, v in (("r", 2**-0.5), ("one", 1), ("half", 0.5))
    )
    cdf = g.add_node("add", [g.add_node("erf", [g.add_node("mul", [swish, root])]), one])
    gelu = g.add_node("mul", [g.add_node("mul", [swish, half]), cdf])
    silu = g.add_node("mul", [gelu, g.add_node("sigmoid", [gelu])])
    g.set_outputs([silu])
    g.canonicalize()
    assert ops(g) == ["hard_swish", "gelu", "silu"]


def test_transposes_meet_through_element_wise_operators():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 3, 4, 5))
    y = g.add_node("transpose", [x], {"perm": [0, 2, 3, 1]})
    y = g.add_node("sigmoid", [y])
    g.set_outputs([g.add_node("transpose", [y], {"perm": [0, 3, 1, 2]})])
    g.canonicalize()
    assert ops(g) == ["sigmoid"]


def test_pad_folds_into_the_convolution_but_not_into_max_pool():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 3, 8, 8))
    pads = {"pads": [0, 0, 0, 0, 0, 0, 1, 1]}
    y = g.add_node("conv", [g.add_node("pad", [x], pads), g.add_constant("w", floats(3, 3, 3, 3))])
    y = g.add_node("max_pool", [g.add_node("pad", [y], pads)], {"kernel": [2, 2]})
    g.set_outputs([y])
    g.canonicalize()
    assert ops(g) == ["conv", "pad", "max_pool"]
    assert g.nodes[0].attributes["pads"] == [0, 0, 1, 1]


def test_a_shared_activation_input_stays():
    g, y = conv_graph()
    g.set_outputs([g.add_node("relu", [y]), y])
    g.canonicalize()
    assert ops(g) == ["conv", "relu"]


@pytest.mark.parametrize(
    ("op", "attributes", "says"),
    [
        ("conv9", {}, "operator must be one of conv, "),
        ("conv", {"pads": [1, 1]}, "node bad: conv: attribute pads must have 4 entries, got 2"),
        ("conv", {"groups": 3}, "channels"),
        ("conv", {"activation": "tanh"}, "activation must be none, relu or relu6, got tanh"),
        ("conv", {"colour": 1}, "attribute must be one that the operator has, got colour"),
    ],
)
def test_bad_nodes_are_named(op, attributes, says):
    g, _ = conv_graph()
    with pytest.raises(GraphError, match=says):
        g.add_node(op, ["x", "w"], attributes, "bad")


def test_reshapes_merge_and_neutral_arithmetic_disappears():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 4, 1, 6))
    y = g.add_node("reshape", [x], {"shape": [-1, 24]})
    y = g.add_node("reshape", [y], {"shape": [-1, 1, 4, 6]})
    y = g.add_node("transpose", [y], {"perm": [0, 2, 1, 3]})  # moves a unit axis: a reshape too
    y = g.add_node("mul", [y, g.add_constant("one", np.float32([1]))])
    y = g.add_node("add", [y, g.add_constant("zero", np.zeros((1, 1, 1), np.float32))])
    g.set_outputs([g.add_node("relu", [y], {}, "relu")])
    g.canonicalize()
    assert ops(g) == ["relu"]


def test_transposes_that_move_values_stay():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 4, 1, 6))
    g.set_outputs([g.add_node("transpose", [x], {"perm": [0, 3, 2, 1]})])
    g.canonicalize()
    assert ops(g) == ["transpose"]


def codes(scale, zero_point):
    return _core.quantization.QParams(scale=[scale], zero_point=[zero_point])


def test_operators_move_onto_the_codes():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 8))
    x = g.add_node("dequantize", [g.add_node("quantize", [x], {}, "q", qparams=codes(0.5, 3))])
    x = g.add_node(
        "reshape", [x], {"shape": [-1, 2, 4]}
    )  # only moves values: passes the dequantize
    wq = _core.quantization.QParams(scale=[0.25, 0.5, 1.0], zero_point=[0, 0, 0], axis=0)
    w = g.add_node(
        "dequantize", [g.add_constant("w", RNG.integers(-127, 128, (3, 4)).astype(np.int8), "", wq)]
    )
    b = g.add_constant("b", np.float32([1, -2, 3]))
    y = g.add_node("relu", [g.add_node("dense", [x, w, b])])
    y = g.add_node("quantize", [y], {}, "r", qparams=codes(1.0, -128))
    y = g.add_node("quantize", [g.add_node("dequantize", [y])], {}, "s", qparams=codes(2.0, -128))
    g.set_outputs([g.add_node("dequantize", [y], {}, "d")])
    g.canonicalize()
    assert ops(g) == ["quantize", "reshape", "dense", "requantize", "dequantize"]
    dense = g.nodes[2]
    edges = [g.edges[i] for i in (*dense.inputs, *dense.outputs)]
    assert [e.dtype for e in edges] == ["int8", "int8", "int32", "int8"]
    np.testing.assert_array_equal(edges[2].constant, [8, -8, 6])  # b / (0.5 * w scale)
    assert dense.attributes["activation"] == "relu"


def test_asymmetric_weights_are_codes_of_a_float_operator():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 4))
    x = g.add_node("dequantize", [g.add_node("quantize", [x], {}, "q", qparams=codes(0.5, 0))])
    w = g.add_node("dequantize", [g.add_constant("w", np.int8([[1, 2, 3, 4]]), "", codes(0.25, 1))])
    y = g.add_node("quantize", [g.add_node("dense", [x, w])], {}, "r", qparams=codes(1.0, 0))
    g.set_outputs([g.add_node("dequantize", [y])])
    g.canonicalize()
    assert ops(g) == ["quantize", "dequantize", "dense", "quantize", "dequantize"]
    np.testing.assert_array_equal(g.edge("w").constant, [[1, 2, 3, 4]])
    g.decode_weights()
    np.testing.assert_array_equal(g.edge("w").constant, [[0, 0.25, 0.5, 0.75]])


def test_rename_takes_the_name_from_another_edge():
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 4))
    a = g.add_node("relu", [x], {}, "a", "y")
    b = g.add_node("neg", [a], {}, "b")
    g.set_outputs([b])
    g.rename(b, "y")
    assert g.edge(b).name == "y"
    assert g.edge(a).name not in ("y", "")
    g.verify()
