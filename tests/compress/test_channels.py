"""Networks that lose channels: budgets, repair, bad input."""

import itertools

import numpy as np
import pytest

import tersor
from tersor.compress.channel_budget import RemovalPlan
from tersor.compress.removal_order import orders_by_error, orders_by_norm, unit_classes
from tersor.data.error import DataError
from tersor.graph.channels import find_channels, remove_channels
from tests import datasets
from tests.graph.test_channels import concat_network, gate_network, option_a_network
from tests.networks import residual_network

NETWORKS = {
    "residual": residual_network,
    "option a": option_a_network,
    "concat": concat_network,
    "gate": gate_network,
}


def images(graph, count=200, seed=0):
    shape = graph.inputs[0].shape[1:]
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def error(graph, small, x):
    truth = tersor.Session(graph)(x)
    return float(np.square(tersor.Session(small)(x) - truth).sum() / np.square(truth).sum())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("budget", ["macs", "parameters", "keep"])
def test_budget_is_met_and_refit_helps(name, budget):
    graph = NETWORKS[name]()
    x = images(graph)
    result = tersor.compress.prune_channels(graph, x, **{budget: 0.6})
    plain = tersor.compress.prune_channels(graph, x, **{budget: 0.6}, refit=False)
    if budget == "keep":
        assert all(kept <= max(1, round(0.6 * n) + 1) for kept, n in result.channels.values())
    else:
        assert getattr(result.graph, budget) <= 0.6 * getattr(graph, budget)
        assert getattr(result.graph, budget) > 0.3 * getattr(graph, budget)
    assert result.macs == (result.graph.macs, graph.macs)
    held_out = images(graph, 100, 1)
    assert error(graph, result.graph, held_out) < error(graph, plain.graph, held_out)


def test_latency_is_measured():
    graph = residual_network(channels=64, size=16)
    result = tersor.compress.prune_channels(graph, latency=0.5, criterion="l2", refit=False)
    assert result.macs[0] < 0.9 * result.macs[1]
    assert result.latency_ms[0] < result.latency_ms[1]
    assert "latency" in result.summary().caption


def test_widths_are_multiples():
    graph = residual_network(channels=16)
    result = tersor.compress.prune_channels(graph, images(graph), macs=0.4, multiple=8, refit=False)
    assert result.channels
    assert all(kept % 8 == 0 for kept, _ in result.channels.values())


def test_useless_channels_go_first_and_cost_nothing():
    """Channels that copy others can be made good completely."""
    graph = residual_network(channels=8)
    nodes = {node.name: node for node in graph.nodes}
    for edge in nodes["a1"].inputs[1:]:
        value = graph.edges[edge].constant.copy()
        value[4:] = 2 * value[:4]
        graph.set_constant(edge, value)
    x = images(graph)
    exclude = ["stem", "a2", "b*"]
    result = tersor.compress.prune_channels(graph, x, keep=0.5, exclude=exclude)
    assert result.channels == {"a1": (4, 8)}
    assert error(graph, result.graph, x) < 1e-6


def test_scores_decide():
    graph = residual_network(channels=8)
    scores = {"a1": np.arange(8)[::-1]}
    exclude = ["stem", "a2", "b*"]
    result = tersor.compress.prune_channels(
        graph, keep=0.5, scores=scores, exclude=exclude, refit=False
    )
    (a1,) = (n for n in result.graph.nodes if n.name == "a1")
    (before,) = (n for n in graph.nodes if n.name == "a1")
    kept = result.graph.edges[a1.inputs[1]].constant
    np.testing.assert_array_equal(kept, graph.edges[before.inputs[1]].constant[:4])


def test_norm_order_is_numpys():
    graph = residual_network(channels=8)
    channels = find_channels(graph)
    classes = unit_classes(channels)
    (order,) = (
        o
        for o in orders_by_norm(graph, channels, classes, 2)
        if [graph.nodes[n].name for n, _ in channels.units[o.units[0]].made] == ["a1"]
    )
    node = next(n for n in graph.nodes if n.name == "a1")
    norms = np.square(graph.edges[node.inputs[1]].constant).sum((1, 2, 3))
    first = min(order.units)
    np.testing.assert_array_equal(order.units - first, np.argsort(norms))
    np.testing.assert_allclose(order.errors[-1], 1, rtol=1e-5)


def test_errors_are_those_of_least_squares():
    """The error of an order equals that of a least-squares fit without the channels."""
    graph = residual_network(channels=8)
    channels = find_channels(graph)
    x = images(graph, 400)
    classes = unit_classes(channels)
    orders = orders_by_error(graph, channels, classes, [[x]], threads=1)
    nodes = {node.name: n for n, node in enumerate(graph.nodes)}
    (order,) = (o for o in orders if channels.units[o.units[0]].made[0][0] == nodes["b1"])
    gone = [channels.units[u].made[0][1] for u in order.units[:6]]
    value = tersor.Session(graph).run_edges({"x": x}, ["b1"])["b1"]
    padded = np.pad(value, [(0, 0), (0, 0), (1, 1), (1, 1)]).astype(np.float64)
    h, w = value.shape[2:]
    patches = np.stack(
        [padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=2
    )
    rows = np.moveaxis(patches.reshape(len(x), -1, h, w), 1, -1).reshape(-1, 16 * 9)
    weight = graph.edges[graph.nodes[nodes["b2"]].inputs[1]].constant.reshape(16, -1)
    target = rows @ weight.T.astype(np.float64)
    rows, target = rows - rows.mean(0), target - target.mean(0)
    stay = np.repeat(~np.isin(np.arange(16), gone), 9)
    fit, *_ = np.linalg.lstsq(rows[:, stay], target, rcond=None)
    lost = np.square(target - rows[:, stay] @ fit).sum() / np.square(target).sum()
    np.testing.assert_allclose(order.errors[6], lost, rtol=0.05)


def test_plan_prefixes_shrink():
    graph = residual_network(channels=8)
    channels = find_channels(graph)
    orders = orders_by_norm(graph, channels, unit_classes(channels), 1)
    plan = RemovalPlan(graph, channels, orders, 1, "macs")
    prefixes = [plan.keep(range(n)) for n in range(len(plan) + 1)]
    macs = [remove_channels(graph, channels, mask).macs for mask in prefixes]
    assert macs[0] == graph.macs
    assert all(a > b for a, b in itertools.pairwise(macs))


@pytest.mark.parametrize("multiple", [1, 4])
def test_what_a_large_last_step_removes_too_much_returns(multiple):
    graph = residual_network(channels=16)
    channels = find_channels(graph)
    orders = orders_by_norm(graph, channels, unit_classes(channels), 1)
    plan = RemovalPlan(graph, channels, orders, multiple, "macs")
    prefixes = [plan.keep(range(n)) for n in range(len(plan) + 1)]
    macs = [remove_channels(graph, channels, mask).macs for mask in prefixes]
    for limit in (0.5, 0.6, 0.7):
        mask = plan.fit(
            lambda mask, limit=limit: (
                remove_channels(graph, channels, mask).macs <= limit * graph.macs
            )
        )
        found = remove_channels(graph, channels, mask).macs
        least = max(m for m in macs if m <= limit * graph.macs)
        assert least <= found <= limit * graph.macs
        # Nothing comes back that the least prefix keeps.
        assert (mask | ~prefixes[macs.index(least)]).all()


def test_one_and_two_threads_give_the_same_network():
    graph = residual_network(channels=8)
    results = []
    for threads in (1, 2):
        tersor.set_threads(threads)
        results.append(tersor.compress.prune_channels(graph, images(graph), macs=0.5).graph)
    tersor.set_threads(0)
    first, second = ([e.constant for e in g.edges if e.is_constant] for g in results)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


BAD = [
    ({}, "budget must be exactly one of macs, parameters, latency, keep, got none"),
    ({"macs": 0.5, "keep": 0.5}, "got macs, keep"),
    ({"macs": 1.5}, r"macs must be a share in \(0, 1\), got 1.5"),
    ({"macs": 1e-4}, "macs must be at least"),
    ({"keep": 0.5, "criterion": "l3"}, "criterion must be activation, l1 or l2, got 'l3'"),
    ({"keep": 0.5, "multiple": 0}, "multiple must be an integer >= 1, got 0"),
    ({"keep": 0.5, "scores": {"nobody": [1]}}, "scores must be of layers, got 'nobody'"),
    ({"keep": 0.5, "scores": {"a1": [1]}}, r"scores\['a1'\] must be 8 finite numbers"),
    ({"keep": 0.5, "exclude": ["*"]}, "must have channels that can go, got none"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_refused(arguments, message):
    graph = residual_network(channels=8)
    with pytest.raises(ValueError, match=message):
        tersor.compress.prune_channels(graph, images(graph, 16), **arguments)


def test_missing_data_is_refused():
    with pytest.raises(DataError, match="data must be given"):
        tersor.compress.prune_channels(residual_network(), keep=0.5)


@pytest.mark.extended
def test_resnet20_without_half_of_its_inner_channels():
    graph = tersor.load(str(datasets.find("models/resnet20-cifar10.onnx")))
    graph.preprocess = {
        "scale": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "layout": "NCHW",
    }
    channels = find_channels(graph)
    stream = [graph.nodes[n].name for group in channels.groups if len(group) > 1 for n in group]
    train = datasets.cifar10("train")
    order = np.random.default_rng(0).permutation(len(train.y))
    result = tersor.compress.prune_channels(graph, train.x[order[:512]], keep=0.5, exclude=stream)
    held_out = order[-2000:]
    x = tersor.Preprocess(**graph.preprocess)(train.x[held_out])
    right = tersor.Session(result.graph)(x).argmax(1) == train.y[held_out]
    assert 100 * right.mean() >= 80  # 95.6 before; 12.7 by filter norm without repair
