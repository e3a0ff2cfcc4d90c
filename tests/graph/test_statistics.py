"""Mean inputs of layers from BatchNorm's statistics, operator by operator."""

import numpy as np
import pytest

import tersor
from tersor.graph.statistics import input_means

BETA, GAMMA = np.array([-1.0, 0.0, 0.5, 3.0]), np.array([0.5, -1.0, 2.0, 1.0])
DRAWN = BETA + GAMMA * np.random.default_rng(0).normal(size=(200_000, 4))


def normed(shape=(None, 4, 6, 4)):
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", shape)
    constants = [
        graph.add_constant(name, np.float32(values))
        for name, values in (("g", GAMMA), ("b", BETA), ("m", np.ones(4)), ("v", np.ones(4)))
    ]
    return graph, graph.add_node("batch_norm", [x, *constants], {}, "norm")


def means(graph, x):
    """What is known of the input of a convolution (or dense layer) that reads x."""
    shape = graph.edges[x].shape
    op, spatial = ("conv", [1] * (len(shape) - 2)) if len(shape) > 2 else ("dense", [])
    w = graph.add_constant("w", np.ones((2, shape[1], *spatial), np.float32))
    graph.set_outputs([graph.add_node(op, [x, w], {}, "layer")])
    return input_means(graph).get("layer")


@pytest.mark.parametrize(
    ("op", "attributes", "function"),
    [
        ("relu", {}, lambda v: np.maximum(v, 0)),
        ("clip", {"min": 0.0, "max": 6.0}, lambda v: np.clip(v, 0, 6)),
        ("leaky_relu", {"alpha": 0.2}, lambda v: np.where(v > 0, v, 0.2 * v)),
        ("hard_swish", {}, lambda v: v * np.clip(v / 6 + 0.5, 0, 1)),
        ("hard_sigmoid", {}, lambda v: np.clip(v / 6 + 0.5, 0, 1)),
        ("sigmoid", {}, lambda v: 1 / (1 + np.exp(-v))),
        ("silu", {}, lambda v: v / (1 + np.exp(-v))),
        ("tanh", {}, np.tanh),
        ("identity", {}, lambda v: v),
    ],
)
def test_functions(op, attributes, function):
    graph, x = normed()
    found = means(graph, graph.add_node(op, [x], attributes, "f"))
    np.testing.assert_allclose(found, function(DRAWN).mean(axis=0), atol=0.02)


def test_sums_of_independent_values_and_constants():
    graph, x = normed()
    r = graph.add_node("relu", [x], {}, "r")
    c = graph.add_constant("c", np.float32([1, 2, 3, 4]).reshape(1, 4, 1, 1))
    both = graph.add_node("add", [graph.add_node("add", [x, r], {}, "s"), c], {}, "t")
    found = means(graph, graph.add_node("relu", [both], {}, "u"))
    other = np.maximum(np.random.default_rng(1).permutation(DRAWN), 0)
    wanted = np.maximum(DRAWN + other + [1, 2, 3, 4], 0).mean(axis=0)
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_shapes_that_keep_channels():
    graph, x = normed()
    flat = graph.add_node("reshape", [x], {"shape": [-1, 96]}, "flat")
    np.testing.assert_allclose(means(graph, flat), np.repeat(BETA, 24))
    graph, x = normed()
    joined = graph.add_node("concat", [x, x], {"axis": 1}, "joined")
    np.testing.assert_allclose(means(graph, joined), np.tile(BETA, 2))
    graph, x = normed()
    mean = graph.add_node("reduce_mean", [x], {"axes": [2, 3], "keepdims": 0}, "mean")
    np.testing.assert_allclose(means(graph, mean), BETA)


def test_what_mixes_channels_is_not_known():
    graph, x = normed()
    # Four rows are left where four channels were.
    mixed = graph.add_node("reduce_mean", [x], {"axes": [1], "keepdims": 0}, "mixed")
    turned = graph.add_node("transpose", [mixed], {"perm": [0, 2, 1]}, "turned")
    assert means(graph, turned) is None
    graph, x = normed()
    turned = graph.add_node("transpose", [x], {"perm": [0, 3, 1, 2]}, "turned")
    assert means(graph, turned) is None
    graph, x = normed()
    c = graph.add_constant("c", np.ones((4, 6, 4), np.float32))
    assert means(graph, graph.add_node("add", [x, c], {}, "sum")) is None


def test_without_batch_norm_nothing_is_known():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 4))
    assert means(graph, graph.add_node("relu", [x], {}, "r")) is None
