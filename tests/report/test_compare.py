"""Real comparisons of the embedded network with copies of itself."""

import numpy as np
import pytest

import tersor
from tersor.data import DataError
from tersor.report import compare
from tersor.zoo import load_digits_data, load_digits_network

FAST = {"warmup": 1, "runs": 3}


@pytest.fixture(scope="module")
def networks():
    return {"fp32": load_digits_network(canonicalize=False), "folded": load_digits_network()}


def test_figures(networks):
    report = compare(networks, data=load_digits_data(), target="mcu", **FAST)
    base, folded = report
    assert report.baseline == "fp32"
    assert base.accuracy == folded.accuracy == pytest.approx(599 / 602)
    assert (base.agreement, folded.agreement) == (1.0, 1.0)
    assert base.sqnr_db is None
    assert folded.sqnr_db > 80
    assert folded.size_bytes < base.size_bytes == len(tersor.artifact.encode(networks["fp32"]))
    assert folded.parameters < base.parameters
    assert base.macs == 673_088
    assert base.latency.runs == 3
    assert base.throughput.batch == 64
    assert base.peak_memory_bytes > networks["fp32"].weight_bytes
    assert report.data == {"name": "digits (test)", "samples": 602, "labeled": True}
    assert report.environment["tersor"] == tersor.__version__


def test_targets(networks):
    report = compare(networks, target={"folded": "mcu"}, budget="latency=1us", **FAST)
    assert report["fp32"].on_target is None
    figures = report["folded"].on_target
    assert figures.latency_source == figures.ram_source == "modelled"
    assert figures.energy_j == pytest.approx(figures.latency_s * 0.1606)
    assert figures.ram_bytes == 3 * 16 * 64 * 4
    # The user's line and the target's own lines hold together.
    assert set(figures.budget.to_dict()) == {"size", "ram", "latency"}
    assert [miss.line for miss in figures.misses] == ["latency"]
    with pytest.raises(tersor.BudgetError, match="folded: latency is"):
        report.check()


def test_the_baseline_has_no_budget(networks):
    report = compare(networks, target="mcu", budget="size=1KB", **FAST)
    assert report["fp32"].on_target.misses == ()
    assert [miss.line for miss in report["folded"].on_target.misses] == ["size"]


def test_a_target_of_this_machine_is_measured(networks, monkeypatch):
    monkeypatch.setattr(tersor.Target, "runs_here", lambda self: True)
    figures = compare(networks, target="cloud", **FAST)["folded"].on_target
    assert figures.latency_source == "measured"
    assert figures.latency_formula == ""
    assert figures.ram_bytes > 0


def test_unlabeled_data(networks):
    report = compare(networks, data=load_digits_data().x, **FAST)
    assert report["folded"].accuracy is None
    assert report["folded"].agreement == 1.0
    with pytest.raises(ValueError, match="asks for accuracy_drop, but there is no figure"):
        compare(networks, target="edge", budget={"accuracy_drop": 0.01}, **FAST)


def test_prepared_floats_and_raw_bytes_agree(networks):
    data = load_digits_data()
    ready = tersor.Preprocess.parse(networks["fp32"].preprocess)(data.x)
    raw = compare(networks, data=(data.x, data.y), **FAST)
    prepared = compare(networks, data=(ready, data.y), **FAST)
    assert raw["folded"].accuracy == prepared["folded"].accuracy


def test_order_and_baseline(networks):
    seen = []
    report = compare(networks, baseline="folded", progress=seen.append, **FAST)
    assert [variant.name for variant in report] == ["fp32", "folded"]
    assert seen == ["folded", "fp32"]


def test_refusals(networks):
    with pytest.raises(ValueError, match="variants must have at least one network"):
        compare({})
    with pytest.raises(TypeError, match="variants must be a mapping of name to network, got list"):
        compare(list(networks.values()))
    with pytest.raises(ValueError, match="baseline must be one of fp32, folded, got 'int8'"):
        compare(networks, baseline="int8")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        compare(networks, threads=0)
    for name, value in (("threads", "2"), ("runs", 1.5), ("warmup", None)):
        with pytest.raises(TypeError, match=f"compare: {name} must be an integer, got {value!r}"):
            compare(networks, **{name: value})
    with pytest.raises(TypeError, match="variant 'x': Session: model must be a"):
        compare({"x": 3})
    with pytest.raises(ValueError, match="unknown target 'egde'"):
        compare(networks, target="egde", **FAST)
    nan = np.full((1, 1, 8, 8), np.nan, np.float32)
    with pytest.raises(DataError, match="has NaN"):
        compare(networks, data=nan, **FAST)


def test_outputs_must_have_one_shape(networks):
    other = tersor.Graph()
    x = other.add_input("x", "float32", (None, 1, 8, 8))
    other.set_outputs([other.add_node("relu", [x])])
    other.preprocess = networks["fp32"].preprocess
    with pytest.raises(DataError, match=r"baseline's shape \(602, 10\)"):
        compare({**networks, "other": other}, data=load_digits_data(), **FAST)


def test_a_quantized_network_names_its_worst_layers():
    data = load_digits_data()
    graph = load_digits_network()
    int8 = tersor.compress(graph, calibration=data.x[:64])
    report = compare({"fp32": graph, "int8": int8}, **FAST)
    assert report["fp32"].losses is None
    losses = report["int8"].losses
    assert 1 <= len(losses.worst_layers) <= 3
    assert set(losses.worst_layers) <= {node.name for node in graph.nodes}
    text, html = str(report), report.to_html()
    for name in losses.worst_layers:
        assert name in text
        assert name in html
    assert "what would help" in html
    assert report.to_dict()["variants"][1]["losses"]["advice"] == losses.advice != ""


@pytest.mark.parametrize(
    "noted",
    [None, {}, {"worst_layers": 3}, {"worst_layers": {"a": "b"}}, {"worst_layers": {"a": np.inf}}],
)
def test_provenance_from_a_file_may_hold_anything(noted):
    int8 = tersor.compress(load_digits_network(), calibration=load_digits_data().x[:64])
    int8.provenance["agreement"] = noted
    assert compare({"int8": int8}, **FAST)["int8"].losses is None
