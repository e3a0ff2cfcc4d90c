"""Channels that go together: removing them equals not reading them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.graph.channels import find_channels, remove_channels
from tests.networks import Builder, residual_network


def columns_of(graph, node, channel):
    """The values of a layer's weight that read an input channel, as an index."""
    weight = graph.edges[node.inputs[1]].shape
    if node.op == "dense":
        return (slice(None), channel)
    groups = node.attributes["groups"]
    if node.op == "conv_transpose":
        return (channel,)
    rows = weight[0] // groups
    group, column = divmod(channel, weight[1])
    return (slice(group * rows, (group + 1) * rows), column)


def unread(graph, channels, keep):
    """The same network with zeros for every weight that reads a removed channel."""
    result = graph.clone()
    nodes, changed = graph.nodes, {}
    for unit, stays in zip(channels.units, keep, strict=True):
        for n, channel in [] if stays else unit.read:
            edge = nodes[n].inputs[1]
            value = changed.setdefault(edge, graph.edges[edge].constant.copy())
            value[columns_of(graph, nodes[n], channel)] = 0
    for edge, value in changed.items():
        result.set_constant(edge, value)
    return result


def sample(graph, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(batch, *edge.shape[1:])).astype(np.float32)
        for edge in (graph.edges[i] for i in graph.input_ids)
    ]


def some_of(channels, share, seed=0):
    """Keep about a share of the units, and one at least where one has to stay."""
    rng = np.random.default_rng(seed)
    keep = rng.random(len(channels.units)) < share
    for units in channels.cover:
        keep[rng.choice(units)] |= not keep[units].any()
    return keep


def outputs(graph, inputs):
    result = tersor.Session(graph)(*inputs)
    return result if isinstance(result, (list, tuple)) else [result]


def assert_removal_is_not_reading(graph, share=0.5, seed=0, excluded=()):
    channels = find_channels(graph, excluded=excluded)
    keep = some_of(channels, share, seed)
    small = remove_channels(graph, channels, keep)
    inputs = sample(graph, seed=seed)
    truth = outputs(unread(graph, channels, keep), inputs)
    for a, b in zip(outputs(small, inputs), truth, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1, np.abs(b).max()))
    return channels, keep, small


def option_a_network():
    """A zero-padded shortcut with a stride, as in CIFAR ResNets."""
    b = Builder()
    x = b.input((3, 8, 8))
    stem = b.conv(x, 4, name="stem", activation="relu")
    y = b.conv(stem, 8, name="a1", strides=[2, 2], activation="relu")
    y = b.conv(y, 8, name="a2")
    s = b.node("slice", stem, axes=[2, 3], starts=[0, 0], ends=[8, 8], steps=[2, 2])
    s = b.node("pad", s, pads=[0, 2, 0, 0, 0, 2, 0, 0], name="pad")
    y = b.node("add", y, s, activation="relu", name="sum")
    mean = b.node("reduce_mean", y, axes=[2, 3], keepdims=0)
    return b.done(b.dense(mean, 5, name="fc"))


def concat_network():
    """Concatenation, a slice across the seam, a depthwise layer with two filters a channel."""
    b = Builder(1)
    x = b.input((3, 6, 6))
    left = b.conv(x, 4, name="left")
    right = b.conv(x, 6, name="right")
    both = b.node("concat", left, right, axis=1)
    wide = b.conv(both, 20, name="depthwise", groups=10)
    part = b.node("slice", wide, axes=[1], starts=[3], ends=[-4])
    pooled = b.node("max_pool", part, kernel=[2, 2], strides=[2, 2])
    flat = b.node("reshape", pooled, shape=[-1, 13 * 9])
    return b.done(b.dense(flat, 4, name="fc"))


def gate_network():
    """Squeeze-excite, a constant per channel, groups, a transposed convolution."""
    b = Builder(2)
    x = b.input((3, 6, 6))
    y = b.conv(x, 8, name="stem")
    y = b.node("mul", y, b.constant("gain", b.floats(1, 8, 1, 1)))
    y = b.node("prelu", y, b.constant("slope", b.floats(8, 1, 1)))
    squeezed = b.node("reduce_mean", y, axes=[2, 3], keepdims=1)
    gate = b.conv(squeezed, 4, 1, name="down", activation="relu")
    gate = b.node("hard_sigmoid", b.conv(gate, 8, 1, name="up"))
    y = b.node("mul", y, gate)
    y = b.conv(y, 12, name="grouped", groups=2, activation="relu")
    w = b.constant("t.weight", b.floats(12, 5, 2, 2))
    y = b.node("conv_transpose", y, w, b.constant("t.bias", b.floats(5)), strides=[2, 2])
    y = b.node("transpose", y, perm=[0, 2, 3, 1])
    return b.done(b.dense(y, 3, name="fc"))


NETWORKS = {
    "residual": residual_network,
    "option a": option_a_network,
    "concat": concat_network,
    "gate": gate_network,
}


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_removing_channels_equals_not_reading_them(name, share, seed):
    assert_removal_is_not_reading(NETWORKS[name](), share, seed)


def test_residual_additions_tie_layers():
    graph = residual_network()
    channels = find_channels(graph)
    names = [sorted(graph.nodes[n].name for n in group) for group in channels.groups]
    assert ["a2", "stem"] in names
    assert ["b2", "b_short"] in names
    assert ["a1"] in names
    assert channels.fixed == ["logits: the network returns them"]


def test_zero_padded_shortcut_shrinks_on_both_sides():
    graph = option_a_network()
    channels = find_channels(graph)
    tied = {tuple(sorted(m)) for m in (unit.made for unit in channels.units) if len(m) == 2}
    names = [node.name for node in graph.nodes]
    stem, last = names.index("stem"), names.index("a2")
    assert tied == {((stem, c), (last, c + 2)) for c in range(4)}
    keep = np.ones(len(channels.units), bool)
    for i, unit in enumerate(channels.units):
        if unit.made in ([(last, 0)], [(last, 7)], [(last, 6)]):
            keep[i] = False
    small = remove_channels(graph, channels, keep)
    (pad,) = (node for node in small.nodes if node.op == "pad")
    assert pad.attributes["pads"] == [0, 1, 0, 0, 0, 0, 0, 0]


def test_excluded_layers_stay():
    graph = residual_network()
    channels = find_channels(graph, excluded=["a1", "b_sho*"])
    made = {graph.nodes[n].name for unit in channels.units for n, _ in unit.made}
    assert made == {"stem", "a2", "b1"}
    assert "a1: it is excluded" in channels.fixed
    assert "b2: it is excluded" in channels.fixed


def test_a_weight_that_two_layers_share_is_cut_for_each():
    b = Builder()
    x = b.input((4,))
    value, last = b.floats(4, 4), b.floats(2, 4)
    w = b.constant("w", value)
    y = b.node("dense", x, w, name="first", activation="relu")
    y = b.node("dense", y, w, name="second", activation="relu")
    graph = b.done(b.node("dense", y, b.constant("v", last), name="fc"))
    channels = find_channels(graph)
    assert [unit.made for unit in channels.units] == [[(n, c)] for n in (0, 1) for c in range(4)]
    small = remove_channels(graph, channels, [True, False, True, False, False, True, True, True])
    (x,) = sample(graph)
    hidden = np.maximum(x @ value[[0, 2]].T, 0)
    hidden = np.maximum(hidden @ value[1:, [0, 2]].T, 0)
    np.testing.assert_allclose(tersor.Session(small)(x), hidden @ last[:, 1:].T, rtol=1e-5)


def test_normalised_channels_stay():
    b = Builder()
    x = b.input((5, 6))
    y = b.dense(x, 8, name="a")
    gamma, beta = b.constant("g", b.floats(8)), b.constant("b", b.floats(8))
    y = b.node("layer_norm", y, gamma, beta, name="norm", axis=-1)
    y = b.dense(y, 12, name="wide")
    graph = b.done(b.dense(y, 2, name="fc"))
    channels = find_channels(graph)
    assert len(channels.units) == 12
    assert channels.fixed[0] == "a: norm (layer_norm) mixes them"
    assert_removal_is_not_reading(graph)


def test_bad_input_is_refused():
    graph = residual_network()
    channels = find_channels(graph)
    count = len(channels.units)
    with pytest.raises(ValueError, match=f"keep must have {count} entries, one per unit, got 3"):
        remove_channels(graph, channels, np.ones(3, bool))
    with pytest.raises(TypeError, match="keep must be a vector of bool, got float64"):
        remove_channels(graph, channels, np.ones(count))
    with pytest.raises(ValueError, match="keep must leave every layer a channel"):
        remove_channels(graph, channels, np.zeros(count, bool))
    with pytest.raises(ValueError, match="channels must be those of the graph"):
        remove_channels(gate_network(), channels, np.ones(count, bool))
    calibration = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    int8 = tersor.compress(graph, recipe="int8", calibration=calibration, progress=False)
    with pytest.raises(tersor.GraphError, match="channels go before quantization"):
        find_channels(int8.graph)


SLOW = ("mobilenet_v2", "efficientnet_b0", "densenet121")
ARCHITECTURES = (
    "resnet20",
    "mobilenet_v3_small",
    "squeezenet",
    "ds_cnn",
    "transformer_torch",
    "transformer_plain",
    "conv1d",
    "decoder",
    "two_in_two_out",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_lose_half_of_their_channels(name):
    architectures = pytest.importorskip("tests.architectures")
    module, example = architectures.build(name)
    graph = tersor.from_torch(module, example)
    channels = find_channels(graph)
    keep = some_of(channels, 0.5)
    small = remove_channels(graph, channels, keep)
    inputs = [x[:1].numpy() for x in example]
    truth = outputs(unread(graph, channels, keep), inputs)
    for a, b in zip(outputs(small, inputs), truth, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1, np.abs(b).max()))
    assert small.macs < 0.8 * graph.macs
