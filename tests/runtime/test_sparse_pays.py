"""The break-even table: what it says of a layer is what the session does with it."""

from dataclasses import replace

import numpy as np
import pytest

import tersor
from tersor.runtime.sparse_pays import ConvShape, break_even, conv_shape, has_winograd, sparse_pays
from tests.networks import Builder

LAYERS = {
    "1x1": ((32, 12, 20), 1, {}),
    "wide 1x1": ((128, 12, 20), 1, {}),
    "3x3": ((32, 12, 20), 3, {}),
    "strided": ((32, 13, 20), 3, {"pads": [0, 1, 1, 1], "strides": [2, 1]}),
    "dilated": ((32, 12, 20), 3, {"dilations": [2, 1]}),
    "one dimension": ((64, 100), 5, {}),
}


def one_layer(kind):
    b = Builder(5)
    if kind == "dense":
        return b.done(b.dense(b.input((512,)), 256))
    shape, kernel, attributes = LAYERS[kind]
    return b.done(b.conv(b.input(shape), 48, kernel, **attributes))


def runs_sparse(graph, sparsity, rows):
    """Whether a session takes the sparse form in micro-batches of that many rows."""
    graph = graph.clone()
    name = next(edge.name for edge in graph.edges if edge.name.endswith("weight"))
    w = np.asarray(graph.edge(name).constant).copy()
    w.flat[np.random.default_rng(0).permutation(w.size)[: round(sparsity * w.size)]] = 0
    graph.set_constant(name, w)
    batch = rows if rows == 1 else 4 * rows  # four tasks or more
    x = np.zeros((batch, *graph.inputs[0].shape[1:]), np.float32)
    steps = tersor.Session(graph, micro_batch=rows).profile(x, repeats=1)
    return any("spm" in step.kernel for step in steps)  # others reorder inputs and outputs


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", [*LAYERS, "dense"])
def test_the_session_does_what_the_table_says(kind, rows):
    graph = one_layer(kind)
    share = break_even(conv_shape(graph, graph.nodes[0], rows))
    assert share is not None
    assert runs_sparse(graph, share + 0.01, rows)
    assert not runs_sparse(graph, share - 0.02, rows)
    if kind == "dense":
        few = replace(conv_shape(graph, graph.nodes[0]), input=(1, 1, 16), output=(1, 1, 16))
        assert break_even(few) is None


def runs_sparse_int8(graph, sparsity):
    """Whether the session of the int8 network takes the sparse form, for one sample."""
    graph = graph.clone()
    w = np.asarray(graph.edge("conv.weight").constant).copy()
    blocks = w.reshape(len(w), -1, 4, *w.shape[2:]).swapaxes(2, -1)  # a view
    chosen = np.random.default_rng(0).permutation(w.size // 4)[: round(sparsity * w.size / 4)]
    blocks[np.unravel_index(chosen, blocks.shape[:-1])] = 0
    graph.set_constant("conv.weight", w)
    x = np.random.default_rng(1).normal(size=(8, *graph.inputs[0].shape[1:])).astype(np.float32)
    model = tersor.compress(graph, recipe="int8", calibration=x, progress=False)
    return any("sparse" in step.kernel for step in tersor.Session(model).profile(x[:1], repeats=1))


@pytest.mark.parametrize("kind", ["wide 1x1", "3x3", "strided", "dilated"])
def test_int8_layers_too(kind):
    graph = one_layer(kind)
    share = break_even(conv_shape(graph, graph.nodes[0]), dtype="int8")
    assert share is not None
    assert runs_sparse_int8(graph, share + 0.01)
    assert not runs_sparse_int8(graph, share - 0.02)


def test_fewer_weights_pay_more():
    shape = ConvShape(1, (14, 14, 64), (14, 14, 64), (3, 3), pads=(1, 1))
    pays = [sparse_pays(shape, percent / 100) for percent in range(101)]
    assert pays == sorted(pays, reverse=True)
    assert break_even(shape) == 1 - (pays.count(True) - 1) / 100
    assert has_winograd(shape)
    assert has_winograd(shape, dtype="int8")
    assert break_even(ConvShape(1, (14, 14, 3), (14, 14, 64)), dtype="int8") is None  # no blocks
    assert not has_winograd(ConvShape(1, (14, 14, 64), (14, 14, 64)))


def test_layers_without_a_sparse_form():
    b = Builder()
    x = b.conv(b.input((8, 9, 9)), 8, name="depthwise", groups=8)
    x = b.node("relu", x, name="relu")
    graph = b.done(x)
    assert [conv_shape(graph, node) for node in graph.nodes] == [None, None]


def test_errors():
    shape = ConvShape(1, (4, 4, 8), (4, 4, 8))
    with pytest.raises(ValueError, match=r"density must be in \[0, 1\], got 1.5"):
        sparse_pays(shape, 1.5)
    with pytest.raises(ValueError, match=r"dtype must be one of float32.*, got 'int4'"):
        sparse_pays(shape, 0.5, dtype="int4")
    with pytest.raises(ValueError, match="sizes of shape must be positive"):
        sparse_pays(ConvShape(1, (4, 4, 8), (4, 4, 8), strides=(0, 1)), 0.5)
    with pytest.raises(ValueError, match="pads must not be negative, got -1 and 0"):
        sparse_pays(ConvShape(1, (4, 4, 8), (4, 4, 8), pads=(-1, 0)), 0.5)
