"""Pruned layers from their sparse form: every shape equals the reference, where it pays or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tests.networks import Builder, residual_network


def pruned(graph, sparsity, seed=0):
    """The network with that share of zeros in every layer."""
    rng = np.random.default_rng(seed)
    graph = graph.clone()
    for node in graph.nodes:
        if node.op in ("conv", "dense"):
            edge = graph.edges[node.inputs[1]]
            w = edge.constant.copy()
            w[rng.random(w.shape) < sparsity] = 0
            graph.set_constant(edge.name, w)
    return graph


def conv(shape, outputs, kernel=3, *, seed=0, residual="", **attributes):
    b = Builder(seed)
    x = b.input(shape)
    y = b.conv(x, outputs, kernel, name="c", **attributes)
    if residual:
        y = b.node(
            "add",
            y,
            b.conv(x, outputs, kernel, name="d", **attributes),
            name="sum",
            activation=residual,
        )
    return b.done(y)


def assert_equals_reference(graph, batch, threads=1, seed=0):
    shape = graph.inputs[0].shape[1:]
    x = np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)
    truth = tersor.Session(graph, provider="reference")(x)
    session = tersor.Session(graph, threads, provider="sparse")
    got = session(x)
    scale = max(1e-6, float(np.abs(truth).max(initial=0)))
    np.testing.assert_allclose(got, truth, rtol=0, atol=2e-6 * scale)
    return session, x, got


def kernels(session, x):
    return [row.kernel for row in session.profile(x[:1])]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_convolutions(data):
    draw = data.draw
    kernel = draw(st.sampled_from([1, 1, 2, 3, 3, 5]), label="kernel")
    stride = draw(st.integers(1, 3), label="stride")
    dilation = draw(st.integers(1, 2), label="dilation")
    reach = (kernel - 1) * dilation + 1
    pads = [draw(st.integers(0, reach - 1), label="pad") for _ in range(4)]
    height = draw(st.integers(max(1, reach - pads[0] - pads[2]), 20), label="height")
    width = draw(st.integers(max(1, reach - pads[1] - pads[3]), 40), label="width")
    graph = pruned(
        conv(
            (draw(st.integers(1, 9)), height, width),
            draw(st.integers(1, 35)),
            kernel,
            seed=draw(st.integers(0, 99)),
            strides=[stride, draw(st.integers(1, 3))],
            dilations=[dilation] * 2,
            pads=pads,
            activation=draw(st.sampled_from(["none", "relu", "relu6"])),
        ),
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
    )
    assert_equals_reference(graph, draw(st.integers(1, 3)), draw(st.integers(1, 2)))


@pytest.mark.parametrize("shape", [(64, 8, 8), (16, 32, 32), (3, 5, 225), (40, 14, 14), (1, 1, 1)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_on_every_instruction_set(isa, shape, kernel):
    graph = pruned(conv(shape, 48, kernel, residual="relu"), 0.8)
    session, x, _ = assert_equals_reference(graph, 2)
    assert any("sparse" in name for name in kernels(session, x))


@pytest.mark.parametrize("sparsity", [0.75, 0.95])
def test_threads_and_batches_give_the_same_bits(sparsity):
    graph = pruned(residual_network(channels=40, size=17), sparsity)
    _, x, first = assert_equals_reference(graph, 5)
    for threads in (1, 2, 3):
        session = tersor.Session(graph, threads, provider="sparse")
        np.testing.assert_array_equal(session(x), first)


@pytest.mark.parametrize("sparsity", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (33, 50), (300, 17), (513, 1030)])
def test_one_vector(isa, shape, sparsity):
    b = Builder()
    x = b.input((shape[1],))
    y = b.dense(x, shape[0], name="one", activation="relu")
    other = b.dense(x, shape[0], name="other")
    y = b.node("add", other, y, activation="relu")
    graph = pruned(b.done(y), sparsity)
    session, x, _ = assert_equals_reference(graph, 1)
    assert any("spmv" in name for name in kernels(session, x))


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_dense_layers_of_several_rows(rows):
    b = Builder()
    x = b.input((rows, 33))
    y = b.dense(x, 50, name="one", activation="relu")
    graph = pruned(b.done(b.dense(y, 7, name="two")), 0.7)
    assert_equals_reference(graph, 3)


def test_one_dimension():
    b = Builder()
    x = b.input((5, 50))
    graph = pruned(b.done(b.conv(x, 12, 3, name="c", strides=[2], pads=[1, 1])), 0.6)
    assert_equals_reference(graph, 2)


def test_infinity_meets_no_dropped_weight():
    graph = pruned(conv((4, 9, 9), 8), 0.6)
    x = np.random.default_rng(0).normal(size=(1, 4, 9, 9)).astype(np.float32)
    x[0, 2, 4, 4] = np.inf
    got = tersor.Session(graph, provider="sparse", check_finite=False)(x)
    w = graph.edges[graph.nodes[0].inputs[1]].constant
    bias = graph.edges[graph.nodes[0].inputs[2]].constant
    padded = np.pad(x[0].astype(np.float64), [(0, 0), (1, 1), (1, 1)])
    for o in range(8):
        total = np.full((9, 9), float(bias[o]))
        for c, i, j in np.argwhere(w[o]):
            total += float(w[o, c, i, j]) * padded[c, i : i + 9, j : j + 9]
        np.testing.assert_allclose(got[0, o], total, rtol=1e-4, atol=1e-4)


def test_what_is_chosen_follows_the_share_of_zeros():
    chosen = []
    for sparsity in (0.0, 0.3, 0.99):
        graph = pruned(conv((64, 16, 16), 64), sparsity)
        x = np.zeros((1, 64, 16, 16), np.float32)
        chosen.append("sparse" in kernels(tersor.Session(graph), x)[1])
    assert chosen == [False, False, True]


def test_large_vectors_follow_it_too():
    chosen = []
    for sparsity in (0.5, 0.9):
        b = Builder()
        graph = pruned(b.done(b.dense(b.input((1024,)), 512, name="one")), sparsity)
        x = np.zeros((1, 1024), np.float32)
        chosen.append(any("sparse" in k for k in kernels(tersor.Session(graph), x)))
    assert chosen == [False, True]


def test_grouped_and_transposed_convolutions_stay_dense():
    b = Builder()
    x = b.input((8, 6, 6))
    y = b.conv(x, 8, name="c", groups=2)
    w = b.constant("t", b.floats(8, 4, 2, 2))
    y = b.node("conv_transpose", y, w, strides=[2, 2])
    graph = pruned(b.done(y), 0.9)
    session, x, _ = assert_equals_reference(graph, 2)
    assert not any("sparse" in name for name in kernels(session, x))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("width", [1, 7, 8, 17, 40])
def test_shift_planes_only_moves(isa, stride, kernel, dilation, width):
    """A kernel with a single 1 copies shifted pixels exactly."""
    channels, reach = 5, (kernel - 1) * dilation
    b = Builder()
    x = b.input((channels, 9, width))
    w = np.zeros((kernel * kernel, channels, kernel, kernel), np.float32)
    for o, (ky, kx) in enumerate(np.ndindex(kernel, kernel)):
        w[o, o % channels, ky, kx] = 1
    attributes = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [reach] * 4}
    graph = b.done(b.node("conv", x, b.constant("w", w), name="c", **attributes))
    value = b.floats(2, channels, 9, width)
    got = tersor.Session(graph, provider="sparse")(value)
    padded = np.pad(value, [(0, 0), (0, 0), (reach, reach), (reach, reach)])
    for o, (ky, kx) in enumerate(np.ndindex(kernel, kernel)):
        moved = padded[:, o % channels, ky * dilation :, kx * dilation :]
        height, length = got.shape[2:]
        expected = moved[:, : height * stride : stride, : length * stride : stride]
        np.testing.assert_array_equal(got[:, o], expected)
