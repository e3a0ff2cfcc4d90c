"""Calibration sees every sample once and gives the same for any number of threads and batches."""

import signal

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.compress.calibrate import calibrate
from tersor.data import DataError
from tests.compress.networks import images, residual


@pytest.fixture(scope="module")
def network():
    graph = residual()
    return graph, _core.graph.place_quantizers(graph)


def state(graph, placement, seen):
    edges = _core.graph.calibration_edges(graph, placement)
    inputs = _core.graph.layer_inputs(graph, placement)
    ranges = seen.observed.ranges(placement, "mse", 1.0)
    return ranges, [seen.observed.range(e) for e in edges], [seen.observed.mean(e) for e in inputs]


def test_ranges_and_means_match_numpy(network, threads):
    graph, placement = network
    x = images(70)
    seen = calibrate(graph, placement, x)
    assert seen.samples == 70
    values = tersor.Session(graph).taps(x)
    for edge in _core.graph.calibration_edges(graph, placement):
        tapped = values[graph.edge(edge).name]
        assert seen.observed.range(edge) == (tapped.min(), tapped.max())
    for edge in _core.graph.layer_inputs(graph, placement):
        tapped = values[graph.edge(edge).name]
        expected = tapped.mean(0, keepdims=True, dtype=np.float64)
        np.testing.assert_allclose(seen.observed.mean(edge), expected, rtol=1e-6, atol=1e-7)


def test_threads_and_batches_change_nothing(network):
    graph, placement = network
    x, states = images(96), []
    for threads in (1, 2, 3):
        tersor.set_threads(threads)
        for data in (x, [x[:32], x[32:64], x[64:]], iter([x[:64], x[64:]])):
            states.append(state(graph, placement, calibrate(graph, placement, data)))
    tersor.set_threads(0)
    for other in states[1:]:
        assert other[:2] == states[0][:2]
        for a, b in zip(other[2], states[0][2], strict=True):
            np.testing.assert_array_equal(a, b)


def test_progress_is_reported(network):
    graph, placement = network
    calls = []
    calibrate(graph, placement, images(100), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("calibrate", 100, None)


def test_an_exception_in_progress_stops(network):
    graph, placement = network

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(graph, placement, images(100), progress=stop)


def test_samples_are_drawn_by_the_seed(network):
    graph, placement = network
    x = images(100)

    def drawn(seed):
        return state(graph, placement, calibrate(graph, placement, x, samples=20, seed=seed))[1]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert calibrate(graph, placement, x, samples=20).samples == 20


def test_a_time_budget_ends_after_the_first_batch(network):
    graph, placement = network
    batches = (images(8, seed) for seed in range(100))
    assert calibrate(graph, placement, batches, time_budget=1e-9).samples == 8


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "calibration set is empty"),
        (np.zeros((0, 3, 16, 16), np.float32), "calibration set is empty"),
        (np.full((4, 3, 16, 16), np.nan, np.float32), "calibration batch 0 has NaN"),
        (np.full((4, 3, 16, 16), np.inf, np.float32), "has infinite values"),
        (np.zeros((4, 16, 16, 3), np.float32), r"the network wants \(N, 3, 16, 16\)"),
        ({"y": np.zeros((4, 3, 16, 16))}, "batches must have the inputs x, got y"),
    ],
)
def test_bad_data_is_explained(network, data, text):
    with pytest.raises(DataError, match=text):
        calibrate(*network, data)


@pytest.fixture(scope="module")
def two_inputs():
    graph = tersor.Graph()
    ends = []
    for name in ("a", "b"):
        w = graph.add_constant(f"w{name}", np.eye(4, dtype=np.float32))
        ends.append(graph.add_node("dense", [graph.add_input(name, "float32", (None, 4)), w], {}))
    graph.set_outputs([graph.add_node("add", ends)])
    return graph, _core.graph.place_quantizers(graph)


def test_several_inputs_in_every_form(two_inputs):
    a, b = np.random.default_rng(0).normal(size=(2, 48, 4)).astype(np.float32)
    labels = np.zeros(48, np.int64)
    batches = [slice(0, 32), slice(32, 48)]
    forms = [
        {"a": a, "b": b},
        (a, b),
        [a, b],
        ((a, b), labels),
        ({"a": a, "b": b}, labels),
        [(a[s], b[s]) for s in batches],
        ([a[s], b[s]] for s in batches),
        (((a[s], b[s]), labels[s]) for s in batches),
        [{"a": a[s], "b": b[s]} for s in batches],
    ]
    states = [state(*two_inputs, calibrate(*two_inputs, form)) for form in forms]
    for other in states:
        assert other[:2] == states[0][:2]
    for data in (a, [a[:8]], (a, b, b)):
        with pytest.raises(DataError, match="the network has the inputs a, b: give a mapping"):
            calibrate(*two_inputs, data)


def test_overflow_inside_the_network_names_the_node():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 2))
    w = graph.add_constant("w", np.full((2, 2), 1e30, np.float32), "head.weight")
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "huge", "huge_out")])
    placement = _core.graph.place_quantizers(graph)
    text = r"output of node 'huge' \(dense, weight 'head.weight'\): x must be finite, got inf"
    with pytest.raises(ValueError, match=text):
        calibrate(graph, placement, np.full((4, 2), 1e30, np.float32))


class Interrupted(Exception):
    """What the signal handler of the next test raises."""


def test_a_signal_ends_a_long_native_call(network):
    graph, placement = network
    edges = _core.graph.calibration_edges(graph, placement)
    calibrator = _core.runtime.Calibrator(graph, edges, [], 1)
    x = np.broadcast_to(images(1), (200_000, 3, 16, 16))  # minutes of work

    def interrupt(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            calibrator.observe([x])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_network_without_layers_to_quantize_stays_float():
    graph = tersor.Graph()
    graph.set_outputs([graph.add_node("relu", [graph.add_input("x", "float32", (None, 4))])])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    compressed = tersor.compress(graph, recipe="int8", calibration=x, progress=False)
    np.testing.assert_array_equal(tersor.Session(compressed)(x), np.maximum(x, 0))


@pytest.mark.parametrize("recipe", ["int8", "w4a8", "w4a32", "w3a32", "w8a32", "fp16"])
def test_samples_that_show_nothing_are_refused_by_every_recipe(recipe):
    graph = tersor.Graph()
    w = graph.add_constant("w", np.eye(4, dtype=np.float32))
    graph.set_outputs([graph.add_node("dense", [graph.add_input("x", "float32", (None, 4)), w])])
    one = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    for data, text in (
        (np.zeros((8, 4), np.float32), "got the same value everywhere"),
        (np.repeat(one, 70, axis=0), "got the same one 70 times"),
        ([one, one, one], "got the same one 3 times"),
    ):
        with pytest.raises(DataError, match=f"samples must vary, {text}"):
            tersor.compress(graph, recipe=recipe, calibration=data)


def test_constant_calibration_data_are_refused():
    graph = tersor.Graph()
    w = graph.add_constant("w", np.eye(4, dtype=np.float32))
    graph.set_outputs([graph.add_node("dense", [graph.add_input("x", "float32", (None, 4)), w])])
    with pytest.raises(ValueError, match="samples must vary"):
        tersor.compress(
            graph, recipe="int8", calibration=np.zeros((8, 4), np.float32), progress=False
        )
