"""Cross-layer equalization keeps the function and evens out the channels."""

import numpy as np
import pytest

import tersor
from tersor import _core

RNG = np.random.default_rng


def normal(shape, seed, channels_axis=None):
    """Weights whose channels differ by up to 2^10 along an axis."""
    w = RNG(seed).normal(size=shape).astype(np.float32)
    if channels_axis is not None:
        scale = 2.0 ** RNG(seed + 1).uniform(-5, 5, shape[channels_axis])
        w *= scale.reshape([-1 if d == channels_axis else 1 for d in range(len(shape))])
    return w.astype(np.float32)


class Builder:
    """A graph that grows at its end."""

    def __init__(self, shape):
        self.graph = tersor.Graph()
        self.end = self.graph.add_input("x", "float32", shape)
        self.seed = 0

    def layer(self, op, shape, axis=0, bias=None, **attributes):
        self.seed += 10
        inputs = [
            self.end,
            self.graph.add_constant(f"w{self.seed}", normal(shape, self.seed, axis)),
        ]
        if bias:
            value = normal((bias,), self.seed + 5, 0)
            inputs.append(self.graph.add_constant(f"b{self.seed}", value))
        self.end = self.graph.add_node(op, inputs, attributes, f"{op}{self.seed}")
        return self

    def then(self, op, *constants, **attributes):
        inputs = [self.end, *(self.graph.add_constant("c", c) for c in constants)]
        self.end = self.graph.add_node(op, inputs, attributes)
        return self

    def done(self):
        self.graph.set_outputs([self.end])
        self.graph.verify()
        return self.graph


def conv_pair(*between):
    net = Builder((None, 3, 8, 8)).layer("conv", (6, 3, 3, 3), bias=6, pads=[1] * 4)
    for op, constants, attributes in between:
        net.then(op, *constants, **attributes)
    return net.layer("conv", (4, 6, 3, 3), 1, pads=[1] * 4).done()


NETWORKS = {
    "conv conv": lambda: conv_pair(),
    "relu": lambda: conv_pair(("relu", [], {})),
    "leaky_relu": lambda: conv_pair(("leaky_relu", [], {"alpha": 0.3})),
    "prelu": lambda: conv_pair(("prelu", [normal((6, 1, 1), 9)], {})),
    "pools": lambda: conv_pair(
        ("max_pool", [], {"kernel": [2, 2], "strides": [2, 2]}),
        ("avg_pool", [], {"kernel": [2, 2], "strides": [1, 1]}),
    ),
    "pad": lambda: conv_pair(("pad", [], {"pads": [0, 0, 1, 1, 0, 0, 1, 1]})),
    "resize": lambda: conv_pair(("resize", [], {"sizes": [16, 16], "mode": "linear"})),
    "fused relu": lambda: (
        Builder((None, 3, 8, 8))
        .layer("conv", (6, 3, 3, 3), bias=6, activation="relu")
        .layer("conv", (4, 6, 1, 1), 1, bias=4)
        .done()
    ),
    "depthwise chain": lambda: (
        Builder((None, 3, 8, 8))
        .layer("conv", (8, 3, 1, 1), bias=8, activation="relu")
        .layer("conv", (8, 1, 3, 3), bias=8, activation="relu", groups=8)
        .layer("conv", (5, 8, 1, 1), bias=5)
        .done()
    ),
    "depthwise multiplier and groups": lambda: (
        Builder((None, 4, 8, 8))
        .layer("conv", (8, 1, 3, 3), bias=8, groups=4)
        .layer("conv", (6, 4, 3, 3), bias=6, groups=2, activation="relu")
        .layer("conv", (5, 6, 1, 1))
        .done()
    ),
    "conv_transpose": lambda: (
        Builder((None, 3, 4, 4))
        .layer("conv_transpose", (3, 6, 2, 2), 1, bias=6, strides=[2, 2])
        .layer("conv_transpose", (6, 2, 2, 2), 1, bias=2, strides=[2, 2])
        .done()
    ),
    "dense": lambda: (
        Builder((None, 7))
        .layer("dense", (9, 7), bias=9, activation="relu")
        .layer("dense", (4, 9), bias=4)
        .done()
    ),
    "flatten": lambda: (
        Builder((None, 3, 4, 4))
        .layer("conv", (6, 3, 3, 3), bias=6, activation="relu")
        .then("reshape", shape=[-1, 24])
        .layer("dense", (4, 24), bias=4)
        .done()
    ),
    "mean": lambda: (
        Builder((None, 3, 4, 4))
        .layer("conv", (6, 3, 3, 3), bias=6, activation="relu")
        .then("reduce_mean", axes=[2, 3], keepdims=0)
        .layer("dense", (4, 6), bias=4)
        .done()
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_function_is_preserved(name):
    graph = NETWORKS[name]()
    equalized, pairs, _ = _core.graph.equalize(graph)
    equalized.verify()
    assert pairs
    assert all(p["most_factor"] > 1.5 or p["least_factor"] < 0.7 for p in pairs)
    shape = [5 if d is None else d for d in graph.inputs[0].shape]
    x = RNG(1).normal(size=shape).astype(np.float32)
    before = tersor.Session(graph, provider="reference")(x)
    after = tersor.Session(equalized, provider="reference")(x)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("name", ["conv conv", "depthwise chain", "dense", "flatten"])
def test_channels_reach_equally_far(name):
    graph = NETWORKS[name]()
    equalized, pairs, _ = _core.graph.equalize(graph)
    nodes = {node.name: node for node in equalized.nodes}
    for pair in pairs:
        first, second = nodes[pair["first"]], nodes[pair["second"]]
        made = equalized.edge(first.inputs[1]).constant
        made = np.abs(made).reshape(len(made), -1).max(1)
        made = np.maximum(made, np.abs(equalized.edge(first.inputs[2]).constant) / 8)
        read = np.abs(equalized.edge(second.inputs[1]).constant)
        if second.attributes.get("groups", 1) > 1:
            read = read.reshape(len(made), -1).max(1)
        else:
            read = np.moveaxis(read, 1, 0).reshape(len(made), -1).max(1)
        np.testing.assert_allclose(made, read, rtol=0.02)


def test_the_graph_itself_is_not_changed():
    graph = NETWORKS["relu"]()
    before = [e.constant.copy() for e in graph.edges if e.is_constant]
    _core.graph.equalize(graph)
    after = [e.constant for e in graph.edges if e.is_constant]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_zero_channels_stay():
    graph = NETWORKS["fused relu"]()
    edge = graph.nodes[0].inputs[1]
    w = graph.edge(edge).constant.copy()
    w[2] = 0
    graph.set_constant(edge, w)
    equalized, _, _ = _core.graph.equalize(graph)
    assert np.isfinite(equalized.edge(graph.edge(edge).name).constant).all()
    x = RNG(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    before = tersor.Session(graph, provider="reference")(x)
    after = tersor.Session(equalized, provider="reference")(x)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


def left_after(net):
    _, pairs, left = _core.graph.equalize(net)
    assert not pairs
    return left[0]


@pytest.mark.parametrize("op", ["hard_swish", "silu", "sigmoid"])
def test_not_through_other_activations(op):
    assert f"{op} stands behind it" in left_after(conv_pair((op, [], {})))


def test_not_through_channel_mixing():
    net = Builder((None, 3, 8, 8)).layer("conv", (6, 3, 1, 1))
    net.then("transpose", perm=[0, 2, 1, 3]).layer("conv", (4, 8, 1, 1))
    assert "transpose stands behind it" in left_after(net.done())
    net = Builder((None, 3, 8, 8)).layer("conv", (6, 3, 1, 1))
    net.then("reduce_mean", axes=[1], keepdims=1).layer("conv", (4, 1, 1, 1))
    assert "a mean mixes its channels" in left_after(net.done())


def test_not_through_residuals_outputs_and_concat():
    net = Builder((None, 6, 8, 8)).layer("conv", (6, 6, 1, 1))
    first = net.end
    net.layer("conv", (6, 6, 1, 1), 1)
    net.end = net.graph.add_node("add", [first, net.end])
    net.layer("conv", (6, 6, 1, 1), 1)
    left = _core.graph.equalize(net.done())[2]
    assert "read more than once" in left[0]
    assert "add stands behind it" in left[1]
    assert "leaves the graph" in left[2]


def test_shared_weights_are_left():
    net = Builder((None, 6, 8, 8)).layer("conv", (6, 6, 1, 1))
    weight = net.graph.nodes[0].inputs[1]
    net.end = net.graph.add_node("conv", [net.end, weight])
    assert "not constants of its own" in left_after(net.done())


def test_relu6_only_on_request():
    net = Builder((None, 3, 8, 8)).layer("conv", (6, 3, 1, 1), bias=6, activation="relu6")
    graph = net.layer("conv", (4, 6, 1, 1), 1).done()
    assert "relu6 stands behind it" in left_after(graph)
    equalized, pairs, _ = _core.graph.equalize(graph, through_relu6=True)
    assert pairs[0]["replaced_relu6"]
    assert equalized.nodes[0].attributes["activation"] == "relu"
    assert graph.nodes[0].attributes["activation"] == "relu6"


@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-5, 1e-7, 0.0])
def test_a_channel_that_is_its_bias_is_not_enlarged(least):
    # What a BatchNorm whose gamma decayed leaves: hardly any weight, and the bias of the others.
    w1, w2 = RNG(1).normal(size=(8, 6)), RNG(2).normal(size=(4, 8))
    w1[0] *= least
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 6))
    constants = (w1, np.full(8, 0.5), w2, np.zeros(4))
    a, b, c, d = (
        graph.add_constant(name, np.asarray(value, np.float32))
        for name, value in zip("abcd", constants, strict=True)
    )
    x = graph.add_node("dense", [x, a, b], {"activation": "relu"}, "first")
    graph.set_outputs([graph.add_node("dense", [x, c, d], {}, "second")])
    equal, pairs, _ = _core.graph.equalize(graph, False)
    assert len(pairs) == 1
    assert np.abs(equal.edge("b").constant).max() < 4
    samples = RNG(3).normal(size=(256, 6)).astype(np.float32)
    wanted = tersor.Session(graph)(samples)
    got = tersor.Session(tersor.compress(graph, calibration=samples))(samples)
    assert np.square(wanted).sum() > 1000 * np.square(wanted - got).sum()
