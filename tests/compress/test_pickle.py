"""Networks travel to other processes: copies and pickles are equal, sessions say what to do."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import tersor
from tests.compress.networks import images, residual

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "oldest pickle": lambda value: pickle.loads(pickle.dumps(value, protocol=0)),
}


@pytest.fixture(scope="module")
def graph():
    made = residual()
    made.description = "a network"
    made.preprocess = {"scale": 0.5, "layout": "NCHW"}
    return made


@pytest.fixture(scope="module")
def model(graph):
    return tersor.compress(graph, "edge", calibration=images())


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_graphs(graph, duplicate):
    twin = duplicate(graph)
    assert type(twin) is tersor.Graph
    assert tersor.artifact.content_hash(twin) == tersor.artifact.content_hash(graph)
    assert twin.description == graph.description
    assert twin.preprocess == graph.preprocess
    twin.preprocess["scale"] = 2.0
    assert graph.preprocess["scale"] == 0.5
    twin.add_input("more", "float32", (None, 1))
    assert [edge.name for edge in graph.inputs] == ["x"]


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_native_graphs(model, duplicate):
    native = tersor.Session(model).graph
    twin = duplicate(native)
    assert type(twin) is type(native)
    assert tersor.artifact.content_hash(twin) == tersor.artifact.content_hash(native)


def test_an_unfinished_graph_is_copied_and_not_pickled():
    graph = tersor.Graph()
    graph.add_input("x", "float32", (None, 4))
    assert [edge.name for edge in copy.deepcopy(graph).edges] == ["x"]
    with pytest.raises(tersor.GraphError):
        pickle.dumps(graph)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_compressed_models(model, duplicate):
    twin = duplicate(model)
    assert twin.content_hash == model.content_hash
    assert twin.recipe == model.recipe
    assert twin.preprocess == model.preprocess
    assert twin.provenance == model.provenance
    x = images(3)
    np.testing.assert_array_equal(tersor.Session(twin)(x), tersor.Session(model)(x))


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("name", ["cloud", "edge", "mcu"])
def test_targets(name, duplicate):
    target = tersor.Target.load(name)
    twin = duplicate(target)
    assert twin == target
    with pytest.raises(TypeError):
        twin.bandwidth["ram"] = 1.0
    with pytest.raises(TypeError):
        twin.latency_model.macs_per_cycle["int8"] = 1.0


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_sessions_say_what_to_do(graph, duplicate):
    with pytest.raises(TypeError, match="build a new Session from it"):
        duplicate(tersor.Session(graph))


def run(model, x):
    return tersor.Session(model)(x)


def test_a_started_process_runs_a_model(model):
    x = images(2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(run, (model, x)), run(model, x))
