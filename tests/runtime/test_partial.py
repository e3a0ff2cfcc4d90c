"""Taps, partial execution and new weights without a new plan."""

import numpy as np
import pytest

import tersor
from tests import interpreter
from tests.networks import Builder, images, int8_residual_network, residual_network


@pytest.fixture(scope="module")
def graph():
    return residual_network()


@pytest.fixture
def session(graph):
    return tersor.Session(graph)


def close(got, truth):
    np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-4 * np.abs(truth).max())


# --- taps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 21])
def test_taps_show_every_edge_in_logical_order(graph, session, batch):
    x = images(batch)
    truth = interpreter.evaluate(graph, x)
    values = session.taps(x)
    assert set(values) == set(truth)
    for name, value in values.items():
        assert value.shape == truth[name].shape
        close(value, truth[name])


@pytest.mark.parametrize("threads", [1, 2])
def test_taps_come_in_batch_order(graph, threads):
    session = tersor.Session(graph, threads=threads)
    x = images(21)
    seen = []
    session.run_tapped(
        x, edges=["stem", "a_add"], tap=lambda name, value: seen.append((name, len(value)))
    )
    assert [name for name, _ in seen] == ["stem", "a_add"] * (len(seen) // 2)
    assert sum(rows for name, rows in seen if name == "stem") == 21
    values = session.taps(x, edges=["stem"])["stem"]
    np.testing.assert_array_equal(values, tersor.Session(graph).taps(x, edges=["stem"])["stem"])


def test_taps_of_an_int8_network_are_codes():
    graph = int8_residual_network()
    codes = tersor.Session(graph).taps(images(3), edges=["a2", "a_add"])
    reference = tersor.Session(graph, provider="reference").taps(images(3), edges=["a2", "a_add"])
    for name, value in codes.items():
        assert value.dtype == np.int8
        assert np.abs(value.astype(int) - reference[name]).max() <= 1


def test_an_exception_in_a_tap_reaches_the_caller(session):
    def tap(name, value):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        session.run_tapped(images(9), edges=["stem"], tap=tap)
    assert session(images(1)).shape == (1, 10)


@pytest.mark.parametrize(
    ("edges", "text"),
    [
        ([], "edges must name at least one edge"),
        (["nothing"], "must name an activation of the graph, got 'nothing'"),
        (["stem.weight"], "must name an activation of the graph, got 'stem.weight'"),
    ],
)
def test_wrong_taps(session, edges, text):
    with pytest.raises(ValueError, match=text):
        session.run_tapped(images(1), edges=edges, tap=lambda name, value: None)


# --- partial execution --------------------------------------------------------------------------


def test_feed_and_fetch_inner_edges(graph, session):
    x = images(5)
    truth = interpreter.evaluate(graph, x)
    values = session.run_edges({"a_add": truth["a_add"]}, ["b_add", "b1"])
    close(values["b_add"], truth["b_add"])
    close(values["b1"], truth["b1"])
    # Feeding both operands of an add needs no convolution.
    both = session.run_edges({"a2": truth["a2"], "stem": truth["stem"]}, ["a_add"])
    close(both["a_add"], truth["a_add"])
    again = session.run_edges({"x": x}, ["x", "stem", "stem"])
    np.testing.assert_array_equal(again["x"], x)


def test_running_in_two_halves_equals_the_whole():
    graph = int8_residual_network()
    session = tersor.Session(graph)
    x = images(6)
    middle = session.run_edges({"x": x}, ["a_add"])
    np.testing.assert_array_equal(session.run_edges(middle, ["logits"])["logits"], session(x))


@pytest.mark.parametrize(
    ("fed", "wanted", "text"),
    [
        (["b1"], ["b_add"], "must be fed, because an output needs it"),
        (["x"], ["nothing"], "got 'nothing'"),
        (["x"], ["stem.bias"], "got 'stem.bias'"),
    ],
)
def test_wrong_edges(graph, session, fed, wanted, text):
    values = interpreter.evaluate(graph, images(2))
    with pytest.raises(ValueError, match=text):
        session.run_edges({name: values[name] for name in fed}, wanted)


def test_many_routes_are_kept_in_bounded_memory(session):
    x = images(2)
    names = ["stem", "a1", "a2", "a_add", "b1", "b2", "b_short", "b_add", "mean", "logits"]
    for _ in range(3):
        for name in names:
            session.run_edges({"x": x}, [name])
    peak = session.peak_memory_bytes
    for _ in range(3):
        for name in names:
            session.run_edges({"x": x}, [name])
    assert session.peak_memory_bytes <= peak * 1.2


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["stem.weight", "a2.weight", "a2.bias", "b_short.weight", "logits.bias"]
)
def test_update_weights_equals_a_new_session(graph, name):
    x = images(11)
    session = tersor.Session(graph)
    before = session(x), session(x[:1])
    session.run_edges({"x": x}, ["b_add"])
    value = (
        images(1, 64, seed=5)
        .ravel()[: graph.edge(name).constant.size]
        .reshape(graph.edge(name).shape)
    )
    session.update_weights(name, value.astype(np.float64))
    changed = graph.clone()
    changed.set_constant(name, value)
    fresh = tersor.Session(changed)
    for rows, old in zip((11, 1), before, strict=True):
        np.testing.assert_array_equal(session(x[:rows]), fresh(x[:rows]))
        assert np.abs(session(x[:rows]) - old).max() > 0
    np.testing.assert_array_equal(
        session.run_edges({"x": x}, ["b_add"])["b_add"],
        fresh.run_edges({"x": x}, ["b_add"])["b_add"],
    )
    np.testing.assert_array_equal(session.graph.edge(name).constant, value)


def test_update_weights_of_an_int8_network():
    graph = int8_residual_network()
    session = tersor.Session(graph)
    x = images(5)
    session(x)
    codes = (
        np.random.default_rng(3).integers(-127, 128, graph.edge("a2.weight").shape).astype(np.int8)
    )
    session.update_weights("a2.weight", codes)
    changed = graph.clone()
    changed.set_constant("a2.weight", codes)
    np.testing.assert_array_equal(session(x), tersor.Session(changed)(x))


def test_update_by_origin_and_through_a_permuted_constant():
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6)
    scale = b.graph.add_constant("scale", b.floats(6, 8, 8), "module.scale")
    graph = b.done(b.conv(b.node("mul", y, scale), 4, name="after"))
    session = tersor.Session(graph)
    session(images(2))
    value = b.floats(6, 8, 8)
    session.update_weights("module.scale", value)
    graph.set_constant("scale", value)
    close(session(images(2)), interpreter.outputs(graph, images(2))[0])


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("stem", (1, 8, 8, 8), "must be that of a weight, got 'stem'"),
        ("stem.bias", (9,), r"weight 'stem.bias' must have shape \[8\], got \[9\]"),
    ],
)
def test_wrong_weights(session, name, shape, text):
    with pytest.raises(ValueError, match=text):
        session.update_weights(name, np.zeros(shape, np.float32))
