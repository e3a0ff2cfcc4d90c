"""Budgets at their bounds: odd networks, limits of 0, stale and shared caches, interruptions."""

import json
import subprocess
import sys

import numpy as np
import pytest

import tersor
from tersor.compress.search import measure_layers
from tests.compress.networks import images, random, residual

pytestmark = pytest.mark.filterwarnings("ignore:compress. the")


def relu():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 3, 8, 8))
    graph.set_outputs([graph.add_node("relu", [x], {}, "r")])
    return graph, random((32, 3, 8, 8), 0)


def dense():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 16))
    w = graph.add_constant("w", random((8, 16), 0))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "d")])
    return graph, random((32, 16), 1)


def grouped():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 8, 8, 8))
    for name, groups, wide in (("c", 2, 4), ("dw", 8, 1)):
        w = graph.add_constant(f"{name}.weight", random((8, wide, 3, 3), groups))
        x = graph.add_node("conv", [x, w], {"pads": [1] * 4, "groups": groups}, name)
    graph.set_outputs([graph.add_node("reduce_mean", [x], {"axes": [2, 3], "keepdims": 0}, "m")])
    return graph, random((32, 8, 8, 8), 2)


@pytest.mark.parametrize(
    ("network", "budget"),
    [
        (relu, "size=0"),
        (relu, "latency=1ns"),
        (dense, "size=0"),
        (dense, "latency=0"),
        (dense, "ram=10B"),
        (grouped, "latency=1ns"),
        (grouped, "ram=10B"),
    ],
)
def test_what_nothing_can_keep_says_what_would_fit(network, budget):
    graph, x = network()
    with pytest.raises(tersor.BudgetError, match=r"budget not met: .*too much") as caught:
        tersor.compress(graph, budget=budget, calibration=x)
    line = budget.partition("=")[0]
    fits = str(caught.value).partition("what would fit: ")[2].partition(" (")[0]
    assert tersor.targets.Budget.parse(fits).to_dict()[line] > 0


@pytest.mark.parametrize(
    ("network", "budget"), [(dense, "size=800B"), (grouped, "size=1000B"), (relu, "size=1KB")]
)
def test_odd_networks_keep_a_size(network, budget):
    graph, x = network()
    model = tersor.compress(graph, budget=budget, calibration=x)
    assert model.nbytes <= tersor.targets.Budget.parse(budget).size
    session, whole = tersor.Session(model), tersor.Session(graph)
    assert np.square(session(x) - whole(x)).mean() < 0.1 * np.square(whole(x)).mean()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": "size=-1"}, ValueError, "finite and not negative"),
        ({"budget": "size=abc"}, ValueError, "number with a unit"),
        ({"budget": {"size": float("nan")}}, ValueError, "finite and not negative"),
        ({"budget": {"latency": float("inf")}}, ValueError, "finite and not negative"),
        ({"budget": {"size": True}}, TypeError, "must be a number"),
        ({"budget": "sise=1KB"}, ValueError, "did you mean 'size'"),
        ({"budget": "size=1KB,size=2KB"}, ValueError, "given twice"),
        ({"budget": 5}, TypeError, "budget must be"),
        ({"calibration": None}, ValueError, "calibration must be given"),
        ({"calibration": np.zeros((0, 16), np.float32)}, ValueError, "is empty"),
        ({"calibration": np.full((4, 16), np.nan, np.float32)}, ValueError, "NaN"),
        ({"time_budget": float("nan")}, ValueError, "time_budget must be"),
        ({"cache": 5}, TypeError, "compress: cache must be"),
    ],
)
def test_arguments_are_refused_at_the_door(options, error, message):
    graph, x = dense()
    with pytest.raises(error, match=message):
        tersor.compress(graph, **{"budget": "size=1KB", "calibration": x, **options})


def test_what_is_compressed_already_is_refused():
    graph, x = dense()
    model = tersor.compress(graph, calibration=x)
    with pytest.raises(TypeError, match=r"graph must be a tersor\.Graph, got CompressedModel"):
        tersor.compress(model, budget="size=1KB", calibration=x)
    with pytest.raises(ValueError, match=r"is quantized already .*recipe='keep'"):
        tersor.compress(model.graph, budget="size=10B", calibration=x)


def test_a_stale_or_damaged_cache_is_not_believed(tmp_path):
    graph, x = residual(), images(32)
    wanted = measure_layers(graph, [[x]], cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    files = sorted(folder.iterdir())
    other = json.loads(files[0].read_text())
    # Of another layer, with other keys, with figures that are none, of no JSON.
    files[1].write_text(json.dumps(other))
    files[2].write_text(json.dumps({"name": "outer"}))
    broken = json.loads(files[3].read_text())
    broken["candidates"][0][1] = None
    files[3].write_text(json.dumps(broken))
    assert measure_layers(graph, [[x]], cache=tmp_path) == wanted
    files[0].write_bytes(b"\xff\xfe")
    assert measure_layers(graph, [[x]], cache=tmp_path) == wanted
    # Another weight is another network.
    changed = tersor.Graph(graph)
    changed.set_constant(
        "fc.weight", 2 * np.asarray(graph.edges[graph.nodes[-1].inputs[1]].constant)
    )
    measure_layers(changed, [[x]], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


_TWO = """
import sys
from tersor.compress.search import measure_layers
from tests.compress.networks import images, residual
print(measure_layers(residual(), [[images(32)]], cache=sys.argv[1]))
"""


def test_two_processes_share_a_cache(tmp_path):
    command = [sys.executable, "-c", _TWO, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    (folder,) = tmp_path.iterdir()
    assert all(file.suffix == ".json" for file in folder.iterdir())
