"""Whole networks pruned without training: counts, quality, what later steps keep."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.compress import prune
from tersor.compress.allocation import allocate_removals
from tersor.quantization import dequantize
from tests.compress import networks

# Networks of random weights have no sure classes.
pytestmark = pytest.mark.filterwarnings("ignore:compress. the quantized network differs")


def network(seed=0, bias=True):
    """Two blocks with shortcuts, one of them through a stride, pooling and a classifier."""
    rng = np.random.default_rng(seed)
    graph = tersor.Graph()

    def constant(name, *shape):
        fan = np.prod(shape[1:]) if len(shape) > 1 else 25
        values = rng.normal(size=shape) * np.sqrt(2 / fan)
        return graph.add_constant(name, values.astype(np.float32))

    def conv(x, name, outputs, inputs, size=3, stride=1, activation="relu", groups=1):
        pads = [size // 2] * 4
        edges = [x, constant(f"{name}.weight", outputs, inputs // groups, size, size)]
        if bias:
            edges.append(constant(f"{name}.bias", outputs))
        attributes = {
            "strides": [stride, stride],
            "pads": pads,
            "groups": groups,
            "activation": activation,
        }
        return graph.add_node("conv", edges, attributes, name)

    x = graph.add_input("x", "float32", (None, 3, 10, 10))
    stem = conv(x, "stem", 8, 3)
    a = conv(stem, "block1.a", 8, 8)
    b = conv(a, "block1.b", 8, 8, activation="none")
    one = graph.add_node("add", [b, stem], {"activation": "relu"}, "block1.add")
    c = conv(one, "block2.a", 12, 8, stride=2)
    d = conv(c, "block2.b", 12, 12, activation="none")
    side = conv(one, "block2.side", 12, 8, size=1, stride=2, activation="none")
    two = graph.add_node("add", [d, side], {"activation": "relu"}, "block2.add")
    deep = conv(two, "depthwise", 12, 12, groups=12)
    pooled = graph.add_node(
        "avg_pool", [deep], {"kernel": [5, 5], "strides": [5, 5], "pads": [0] * 4}, "pool"
    )
    flat = graph.add_node("reshape", [pooled], {"shape": [-1, 12]}, "flat")
    head = [flat, constant("head.weight", 5, 12), constant("head.bias", 5)]
    graph.set_outputs([graph.add_node("dense", head, {}, "head")])
    return graph


def images(n=96, seed=1):
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(n, 3, 5, 5)).repeat(2, axis=2).repeat(2, axis=3)
    return (low + 0.3 * rng.normal(size=(n, 3, 10, 10))).astype(np.float32)


def weights(graph):
    edges = graph.edges
    return {n.name: edges[n.inputs[1]] for n in graph.nodes if n.op in ("conv", "dense", "matmul")}


def noise(graph, pruned, x):
    wanted, got = tersor.Session(graph)(x), tersor.Session(pruned)(x)
    return float(np.square(wanted - got).sum() / np.square(wanted - wanted.mean(0)).sum())


@pytest.mark.parametrize("method", ["second-order", "magnitude"])
@pytest.mark.parametrize("structure", ["unstructured", "1x4", "2:4"])
def test_masks_are_exact_and_weights_are_zero_there(method, structure):
    graph = network()
    done = prune(graph, images(), 0.5, structure=structure, method=method)
    assert set(done.masks) == set(weights(graph))
    for name, edge in weights(done.graph).items():
        mask = done.masks[name]
        assert mask.shape == edge.constant.shape
        assert (np.asarray(edge.constant)[~mask] == 0).all()
        rows = np.moveaxis(mask, 1, -1).reshape(len(mask), -1)  # input channels innermost
        if structure == "2:4":
            for first in range(0, rows.shape[1], 4):
                part = rows[:, first : first + 4]
                assert (part.sum(axis=1) == min(2, part.shape[1])).all()
        elif structure == "1x4":
            for first in range(0, rows.shape[1], 4):
                part = rows[:, first : first + 4]
                assert (part.all(axis=1) | ~part.any(axis=1)).all()
    if structure == "unstructured":
        total = sum(m.size for m in done.masks.values())
        assert sum(int(m.sum()) for m in done.masks.values()) == total - round(total / 2)
    assert done.samples == 96
    assert (np.asarray(weights(graph)["stem"].constant) != 0).all()  # not changed


@pytest.mark.parametrize("structure", ["unstructured", "1x4", "2:4"])
def test_it_is_far_better_than_magnitudes(structure):
    graph, x, fresh = network(), images(256), images(64, seed=9)
    ours = prune(graph, x, 0.5, structure=structure)
    theirs = prune(graph, x, 0.5, structure=structure, method="magnitude", reestimate="never")
    assert noise(graph, ours.graph, fresh) < 0.3 * noise(graph, theirs.graph, fresh)


def test_reestimation_helps_magnitudes_and_is_rarely_taken_after_a_refit():
    graph, x, fresh = network(), images(256), images(64, seed=9)
    bare, every, some = (
        prune(graph, x, 0.6, method="magnitude", reestimate=r)
        for r in ("never", "always", "improves")
    )
    assert noise(graph, every.graph, fresh) < noise(graph, bare.graph, fresh)
    assert noise(graph, some.graph, fresh) < noise(graph, bare.graph, fresh)
    refitted = prune(graph, x, 0.6)
    assert sum(refitted.rescaled.values()) < sum(every.rescaled.values()) / 2
    assert noise(graph, refitted.graph, fresh) < noise(graph, some.graph, fresh)


def test_layer_adaptive_magnitudes_do_not_see_the_scale_of_a_layer():
    graph = network()
    wanted = prune(graph, None, 0.6, method="lamp").masks
    edge = next(e for e in graph.edges if e.name == "block1.a.weight")
    for node in graph.nodes:
        if node.name == "block1.a":
            graph.set_constant(node.inputs[1], np.float32(8) * np.asarray(edge.constant))
    got = prune(graph, None, 0.6, method="lamp").masks
    for name, mask in wanted.items():
        np.testing.assert_array_equal(got[name], mask)


def test_networks_without_biases_and_without_samples():
    graph = network(bias=False)
    done = prune(graph, images(), 0.5)
    assert done.sparsity == pytest.approx(0.5, abs=1e-3)
    alone = prune(graph, None, 0.5, method="magnitude")
    assert alone.sparsity == pytest.approx(0.5, abs=1e-3)
    assert alone.errors == {}


def test_excluded_layers_stay_dense():
    graph = network()
    done = prune(graph, images(), 0.5, exclude=["stem", "head", "block1.*"])
    assert set(done.masks) == {"block2.a", "block2.b", "block2.side", "depthwise"}
    assert (np.asarray(weights(done.graph)["stem"].constant) != 0).all()


def test_nothing_pruned_changes_little():
    graph = network()
    done = prune(graph, images(), 0.0)
    assert done.sparsity == 0
    assert noise(graph, done.graph, images(16, seed=5)) < 1e-4


def test_threads_give_the_same_bytes():
    parts = []
    for n in (1, 2):
        tersor.set_threads(n)
        done = prune(network(), images(), 0.7)
        parts.append(
            b"".join(np.asarray(e.constant).tobytes() for e in done.graph.edges if e.is_constant)
        )
    tersor.set_threads(0)
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    "recipe",
    [
        *("int8", "w4a8", "w4a32", "w3a32", "w8a32", "int8-dynamic", "fp16", "bf16"),
        {"values": "w4a32", "float_zero_point": True},
        {"values": "w4a32", "rounding": "nearest"},
    ],
)
@pytest.mark.parametrize("structure", ["unstructured", "1x4", "2:4"])
def test_pruned_weights_stay_zero_through_quantization(recipe, structure, tmp_path):
    x = images()
    done = prune(network(), x, 0.6, structure=structure)
    compressed = tersor.compress(done.graph, recipe=recipe, calibration=x)
    file = tmp_path / "pruned.tersor"
    compressed.save(file)
    loaded = tersor.load(file)
    for name, edge in weights(loaded.graph).items():
        values = np.asarray(edge.constant)
        if edge.qparams is not None:
            values = dequantize(values, edge.qparams)
        assert (np.float32(values)[~done.masks[name]] == 0).all(), name


def test_recipes_prune_first(tmp_path):
    graph, x = network(), images()
    recipe = {"values": "int8", "pruning": {"sparsity": 0.6, "structure": "1x4"}}
    model = tersor.compress(graph, recipe=recipe, calibration=iter([x[:48], x[48:]]))
    assert model.notes["pruning"]["samples"] == 96
    model.save(tmp_path / "pruned.tersor")
    loaded = tersor.load(tmp_path / "pruned.tersor")
    assert loaded.recipe == tersor.Recipe.parse(recipe)
    assert tersor.Recipe.from_yaml(loaded.recipe.to_yaml()) == loaded.recipe
    pruned = prune(graph, x, 0.6, structure="1x4")
    for name, edge in weights(loaded.graph).items():
        assert (np.asarray(edge.constant)[~pruned.masks[name]] == 0).all()


@pytest.mark.parametrize(
    ("pruning", "error", "text"),
    [
        ({"sparsity": 1.5}, ValueError, r"recipe pruning: sparsity must be in \[0, 1\), got 1.5"),
        ({"sparsity": "half"}, TypeError, "sparsity must be a number, got 'half'"),
        ({"exclude": "conv1"}, TypeError, "exclude must be a list of patterns, got 'conv1'"),
        ({"samples": 0}, ValueError, "samples must be an integer >= 1, got 0"),
        ({"spars": 0.5}, ValueError, "recipe pruning.*spars"),
        (0.5, TypeError, "recipe: pruning must be a mapping, got 0.5"),
    ],
)
def test_recipes_check_pruning(pruning, error, text):
    with pytest.raises(error, match=text):
        tersor.Recipe.parse({"values": "fp32", "pruning": pruning})


def test_pruning_needs_samples_and_a_float_network():
    with pytest.raises(ValueError, match="calibration must be given for pruning"):
        tersor.compress(network(), recipe={"values": "fp32", "pruning": {"sparsity": 0.5}})
    with pytest.raises(ValueError, match="pruning needs other values than 'keep'"):
        tersor.Recipe.parse({"values": "keep", "pruning": {}})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(0, 12),
)
def test_allocation_is_optimal_for_convex_curves(slopes, total):
    curves = {f"l{i}": np.cumsum([0.0, *sorted(s)]) for i, s in enumerate(slopes)}
    weights_of = {name: i + 1.0 for i, name in enumerate(curves)}
    total = min(total, sum(len(s) for s in slopes))
    got = allocate_removals(curves, total, weights_of)
    assert sum(got.values()) == total
    cost = sum(weights_of[n] * curves[n][k] for n, k in got.items())
    best = min(
        sum(weights_of[n] * curves[n][k] for n, k in zip(curves, ks, strict=True))
        for ks in itertools.product(*(range(len(c)) for c in curves.values()))
        if sum(ks) == total
    )
    assert cost <= best + 1e-9 * (1 + best)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sparsity": 1.0}, r"prune: sparsity must be in \[0, 1\), got 1.0"),
        ({"structure": "4"}, "prune: structure must be 'unstructured', blocks .* got '4'"),
        ({"structure": "4:2"}, "prune: structure must be"),
        ({"structure": "0x4"}, "prune: structure must be"),
        ({"method": "obd"}, "prune: method must be"),
        ({"reestimate": "yes"}, "prune: reestimate must be"),
        ({"exclude": ["conv9"]}, "exclude must match layers, got 'conv9'"),
        ({"exclude": ["*"]}, "prune: graph must have layers with weights to prune, got none"),
        ({"data": None}, "prune: data must be given for method 'second-order'"),
    ],
)
def test_errors_name_the_value(options, text):
    arguments = {"data": images(8), **options}
    with pytest.raises(ValueError, match=text):
        prune(network(), **arguments)


def test_quantized_networks_are_refused():
    x = images()
    quantized = tersor.compress(network(), recipe="int8", calibration=x).graph
    with pytest.raises(ValueError, match="prune: graph must be a float network, got one with"):
        prune(quantized, x)
    with pytest.raises(TypeError, match=r"prune: graph must be a tersor\.Graph, got int"):
        prune(3, x)


@pytest.mark.parametrize(
    "recipe",
    [
        {"values": "fp32", "pruning": {"sparsity": 0.5}},
        {"values": "int8", "pruning": {"sparsity": 0.5, "structure": "1x4"}},
        "deep-compression",
    ],
)
@pytest.mark.filterwarnings("ignore:compress")
def test_layers_that_see_the_same_value_everywhere(recipe):
    graph = networks.residual()
    stem = next(i for i, edge in enumerate(graph.edges) if edge.name == "stem.bias")
    graph.set_constant(stem, np.full(8, -1000, np.float32))  # nothing passes its ReLU
    model = tersor.compress(graph, recipe=recipe, calibration=networks.images())
    wanted, got = tersor.Session(graph)(networks.images()), tersor.Session(model)(networks.images())
    np.testing.assert_allclose(got, wanted, rtol=0.1, atol=0.1)
