"""Forms of layers, measured on this machine and kept."""

import json

import numpy as np
import pytest

import tersor
from tersor.runtime import Tuning
from tests.networks import int8_residual_network, residual_network
from tests.runtime.test_sparse_float32 import pruned
from tests.runtime.test_sparse_int8 import pruned as pruned_blocks


def test_choices_are_measured_and_kept(tmp_path):
    graph = pruned(residual_network(channels=32, size=12), 0.8)
    x = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    session = tersor.Session(graph)
    plain = session(x)
    tuning = session.tune(x, repeats=3)
    assert session.tuning is tuning
    assert set(tuning.times_us) == {n.name for n in graph.nodes if n.op in ("conv", "dense")}
    assert all(len(times) >= 2 for times in tuning.times_us.values())
    np.testing.assert_allclose(session(x), plain, rtol=1e-4, atol=1e-5)
    path = tmp_path / "tuning.json"
    tuning.save(path)
    assert list(tmp_path.iterdir()) == [path]
    again = tersor.Session(graph, tuning=path)
    assert again.tuning == tuning
    np.testing.assert_array_equal(again(x), session(x))
    assert "fastest" in str(tuning.table())


def test_a_choice_decides_and_codes_stay_the_same():
    graph = pruned_blocks(int8_residual_network(channels=16), 0.5)
    x = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    plain = tersor.Session(graph)
    tuning = plain.tune(x, repeats=1)
    for form in ("dense", "sparse"):
        choices = dict.fromkeys(tuning.times_us, form)
        session = tersor.Session(
            graph,
            tuning={
                "machine": tuning.machine,
                "threads": 1,
                "batch": 3,
                "choices": choices,
                "times_us": tuning.times_us,
            },
        )
        names = [
            row.kernel for row in session.profile(x) if row.node.partition(" + ")[0] in choices
        ]
        assert names
        assert all((" sparse" in name) == (form == "sparse") for name in names)
        np.testing.assert_array_equal(session(x), plain(x))


def test_weights_stay_replaced():
    graph = residual_network()
    x = np.random.default_rng(0).normal(size=(1, *graph.inputs[0].shape[1:])).astype(np.float32)
    session = tersor.Session(graph)
    name = graph.edges[graph.nodes[0].inputs[1]].name
    session.update_weights(name, np.zeros_like(graph.edges[graph.nodes[0].inputs[1]].constant))
    before = session(x)
    session.tune(x, repeats=1)
    np.testing.assert_allclose(session(x), before, rtol=1e-4, atol=1e-5)


def test_wrong_tunings_are_refused(tmp_path):
    graph = residual_network()
    good = Tuning("another machine", 1, 1, {}, {})
    with pytest.raises(ValueError, match=r"must be of this machine \(.*\), got one of another"):
        tersor.Session(graph, tuning=good)
    with pytest.raises(ValueError, match="tuning must have machine, threads"):
        tersor.Session(graph, tuning={"choices": {}})
    path = tmp_path / "t.json"
    path.write_text("no json")
    with pytest.raises(ValueError, match="tuning must be JSON"):
        tersor.Session(graph, tuning=path)
    path.write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="tuning must have"):
        tersor.Session(graph, tuning=path)
    with pytest.raises(FileNotFoundError):
        tersor.Session(graph, tuning=tmp_path / "none")
    with pytest.raises(ValueError, match="repeats"):
        tersor.Session(graph).tune(np.zeros((1, 3, 8, 8), np.float32), repeats=0)
