"""Sensitivity of layers: against runs of networks that are rounded by hand."""

import numpy as np
import pytest

import tersor
from tersor.quantization import choose_qparams, dequantize, quantize
from tersor.report.heat_map import heat_color, heat_map_svg
from tests.networks import Builder


def network():
    b = Builder(3)
    x = b.input((3, 8, 8))
    x = b.node("relu", b.conv(x, 8, name="first"), name="r1")
    y = b.conv(x, 8, name="second")
    x = b.node("relu", b.node("add", x, y, name="sum"), name="r2")
    x = b.conv(x, 8, groups=8, name="depthwise")
    x = b.node("reduce_mean", x, axes=[2, 3], keepdims=0, name="mean")
    w = b.constant("w", b.floats(5, 8))
    b.graph.set_outputs([b.node("dense", x, w, name="classes")])
    return b.graph


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)


def db(wanted, got):
    noise = np.square(np.float64(wanted) - got).sum()
    return 10 * np.log10(np.square(np.float64(wanted)).sum() / noise)


def test_weights_are_rounded_one_layer_at_a_time(samples, threads):
    graph = network()
    found = tersor.sensitivity(graph, samples, bits=(8, 3), output_bits=())
    wanted = tersor.Session(graph)(samples)
    plain = graph.clone()
    plain.canonicalize()
    assert found.samples == 40
    assert [(e.layer, e.bits) for e in found.effects] == [
        (n.name, bits) for n in plain.nodes if n.op in ("conv", "dense") for bits in (8, 3)
    ]
    for e in found.effects:
        node = next(n for n in plain.nodes if n.name == e.layer)
        name = plain.edges[node.inputs[1]].name
        w = np.asarray(plain.edge(name).constant)
        q = choose_qparams(w, bits=e.bits, axis=0, method="mse")
        session = tersor.Session(plain)
        session.update_weights(name, dequantize(quantize(w, q), q))
        got = session(samples)
        assert e.sqnr_db == pytest.approx(db(wanted, got), abs=0.01)
        p, r = (
            np.float64(y) - np.log(np.exp(np.float64(y)).sum(1))[:, None] for y in (wanted, got)
        )
        assert e.kl == pytest.approx((np.exp(p) * (p - r)).sum(1).mean(), rel=1e-3, abs=1e-9)
    bad, good = (next(e for e in found.effects if e.bits == bits) for bits in (3, 8))
    assert bad.sqnr_db < good.sqnr_db
    assert bad.kl > good.kl


def test_pruning_of_each_layer_and_of_all(samples, threads):
    graph = network()
    shares = (0.25, 0.75)
    found = tersor.sensitivity(graph, samples, bits=(), output_bits=(), sparsity=shares)
    plain = graph.clone()
    plain.canonicalize()
    wanted = tersor.Session(graph)(samples)
    layers = [n for n in plain.nodes if n.op in ("conv", "dense")]
    assert [(e.layer, e.sparsity) for e in found.effects] == [
        *((n.name, share) for n in layers for share in shares),
        *(("all layers", share) for share in shares),
    ]
    weights = {n.name: plain.edges[n.inputs[1]] for n in layers}
    for e in found.effects:
        session = tersor.Session(plain)
        chosen = weights if e.layer == "all layers" else {e.layer: weights[e.layer]}
        flat = np.concatenate([np.abs(edge.constant).ravel() for edge in chosen.values()])
        limit = np.sort(flat)[round(e.sparsity * flat.size)]
        for edge in chosen.values():
            w = np.asarray(edge.constant)
            session.update_weights(edge.name, np.where(np.abs(w) >= limit, w, np.float32(0)))
        assert e.sqnr_db == pytest.approx(db(wanted, session(samples)), abs=0.01)
        assert e.part == "pruned"
    assert "75% pruned" in str(found)
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\], got \[1.5\]"):
        tersor.sensitivity(graph, samples, sparsity=[1.5])


def test_labels_give_accuracies(samples):
    graph = network()
    y = np.random.default_rng(1).integers(0, 5, len(samples))
    shares = (0.5, 1.0)
    found = tersor.sensitivity(
        graph, (samples, y), bits=(), output_bits=(), sparsity=shares, samples=30, seed=3
    )
    rows = np.sort(np.random.default_rng(3).choice(len(samples), 30, replace=False))
    x, y = samples[rows], y[rows]
    logits = tersor.Session(graph)(x)
    assert found.accuracy == (logits.argmax(1) == y).mean()
    plain = graph.clone()
    plain.canonicalize()
    effect = next(e for e in found.effects if e.layer == "classes" and e.sparsity == 0.5)
    session = tersor.Session(plain)
    w = np.asarray(plain.edge("w").constant)
    session.update_weights("w", w * tersor.pruning.magnitude_mask(w, 0.5))
    got = session(x).argmax(1)
    assert effect.accuracy == (got == y).mean()
    assert effect.agreement == (got == logits.argmax(1)).mean()
    assert found.to_dict()["accuracy"] == found.accuracy
    unlabeled = tersor.sensitivity(graph, samples, bits=(8,), output_bits=())
    assert unlabeled.accuracy is None
    assert {e.accuracy for e in unlabeled.effects} == {None}
    assert all(0 <= e.agreement <= 1 for e in unlabeled.effects)


def test_the_curve_of_a_report(samples):
    pytest.importorskip("matplotlib").use("Agg")
    graph, y = network(), np.random.default_rng(1).integers(0, 5, len(samples))
    found = tersor.sensitivity(
        graph, (samples, y), bits=(), output_bits=(), sparsity=[0.25, 0.5, 0.75]
    )
    report = tersor.compare({"fp32": graph}, (samples, y), runs=1)
    assert report["fp32"].sparsity == 0
    assert report["fp32"].accuracy == found.accuracy
    axes = report.plot.accuracy_vs_sparsity(found)
    assert len(axes.lines) == 5  # four layers, and all together


def test_outputs_are_rounded_too(samples):
    graph = network()
    found = tersor.sensitivity(graph, samples, bits=(), output_bits=(8, 2))
    layers = list(dict.fromkeys(e.layer for e in found.effects))
    assert len(layers) == 3  # the last one's output is the network's
    assert {e.part for e in found.effects} == {"output"}
    assert all(
        next(e.sqnr_db for e in found.effects if e.layer == name and e.bits == 8)
        > next(e.sqnr_db for e in found.effects if e.layer == name and e.bits == 2)
        for name in layers
    )


def test_groups_are_finer_than_channels(samples):
    graph = network()
    channels, groups = (
        tersor.sensitivity(graph, samples, bits=(3,), output_bits=(), group_size=size)
        for size in (None, 4)
    )
    assert np.mean([e.sqnr_db for e in groups.effects]) > np.mean(
        [e.sqnr_db for e in channels.effects]
    )


def test_threads_and_runs_give_the_same(samples):
    seen = []
    for threads in (1, 2, 1):
        tersor.set_threads(threads)
        seen.append(tersor.sensitivity(network(), samples).to_dict())
    tersor.set_threads(0)
    assert seen[0] == seen[1] == seen[2]


def test_what_it_shows(samples):
    stages = []
    found = tersor.sensitivity(
        network(), samples, samples=32, progress=lambda *stage: stages.append(stage)
    )
    assert stages[-1] == ("sensitivity", 4, 4)
    assert found.samples == 32
    text = str(found)
    assert "weights 4 bits" in text
    assert "output 8 bits" in text
    assert found.worst(1)[0].layer in text
    assert found.worst(2, bits=8)[0].bits == 8
    assert found.plot().startswith("<svg")
    assert "nats" in found.plot("kl")
    assert found._repr_html_().startswith("<svg")
    assert repr(found) == "Sensitivity(4 layers, 32 samples)"
    with pytest.raises(ValueError, match="figure must be sqnr_db or kl, got 'mse'"):
        found.plot("mse")


def test_heat_map_of_hostile_names():
    svg = heat_map_svg([("<script>", [("&", heat_color(float("nan"), 40, 10), '"')])], ["<b>"],
                       label='"')  # fmt: skip
    assert "<script>" not in svg
    assert "<b>" not in svg
    assert heat_color(float("inf"), 40, 10) == heat_color(99, 40, 10)


def test_errors(samples):
    graph = network()
    with pytest.raises(TypeError, match=r"graph must be a tersor.Graph, got str"):
        tersor.sensitivity("x", samples)
    with pytest.raises(ValueError, match=r"bits must be in \[2, 8\], got \[9\]"):
        tersor.sensitivity(graph, samples, bits=(9,))
    with pytest.raises(ValueError, match="group_size must be at least 1, got 0"):
        tersor.sensitivity(graph, samples, group_size=0)
    with pytest.raises(ValueError, match="has NaN"):
        tersor.sensitivity(graph, np.full_like(samples, np.nan))
    quantized = tersor.compress(graph, calibration=samples).graph
    with pytest.raises(ValueError, match="must be a float network, got one with codes"):
        tersor.sensitivity(quantized, samples)
    empty = Builder()
    empty.graph.set_outputs([empty.node("relu", empty.input((4,)), name="relu")])
    with pytest.raises(ValueError, match="must have layers with weights, got none"):
        tersor.sensitivity(empty.graph, np.ones((2, 4), np.float32))
