"""Pruned int8 layers from their sparse form: the codes of the dense one, whatever is pruned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tests.networks import Int8Builder, int8_residual_network


def pruned(graph, sparsity, seed=0, *, extremes=False):
    """Blocks of 1x4 input channels dropped; extremes: the rest is -127 or 127."""
    rng = np.random.default_rng(seed)
    graph = graph.clone()
    for node in graph.nodes:
        if node.op in ("conv", "dense"):
            edge = graph.edges[node.inputs[1]]
            w = edge.constant.copy()
            if extremes:
                w = np.where(w < 0, -127, 127).astype(np.int8)
            blocks = rng.random((w.shape[0], -(-w.shape[1] // 4), *w.shape[2:])) >= sparsity
            w *= np.repeat(blocks, 4, axis=1)[:, : w.shape[1]]
            graph.set_constant(edge.name, w)
    return graph


def conv(shape, outputs, kernel=3, *, seed=0, residual=False, zero_point=-5, **attributes):
    b = Int8Builder(seed)
    x = b.quantize(b.input(shape), 0.03, zero_point)
    y = b.conv8(x, outputs, 0.02, 3, "c", kernel, **attributes)
    if residual:
        other = b.conv8(x, outputs, 0.03, -7, "d", kernel, **attributes)
        y = b.add8(other, y, 0.04, -128, "sum", activation="relu")
    return b.done(b.node("dequantize", y, name="y"))


def kernels(session, x):
    return [row.kernel for row in session.profile(x)]


def assert_equals_dense(graph, batch, threads=1, arithmetic="fast", seed=0):
    shape = graph.inputs[0].shape[1:]
    x = np.random.default_rng(seed).normal(size=(batch, *shape), scale=2).astype(np.float32)
    truth = tersor.Session(graph, provider="reference", arithmetic=arithmetic)(x)
    session = tersor.Session(graph, threads, provider="sparse", arithmetic=arithmetic)
    np.testing.assert_array_equal(session(x), truth)
    dense = tersor.Session(graph, provider="native", arithmetic=arithmetic)
    np.testing.assert_array_equal(dense(x), truth)
    return session, x


@settings(max_examples=60)
@given(data=st.data())
def test_convolutions(data):
    draw = data.draw
    kernel = draw(st.sampled_from([1, 1, 2, 3, 3, 5]), label="kernel")
    dilation = draw(st.integers(1, 2), label="dilation")
    reach = (kernel - 1) * dilation + 1
    pads = [draw(st.integers(0, reach - 1), label="pad") for _ in range(4)]
    height = draw(st.integers(max(1, reach - pads[0] - pads[2]), 20), label="height")
    width = draw(st.integers(max(1, reach - pads[1] - pads[3]), 40), label="width")
    graph = pruned(
        conv(
            (4 * draw(st.integers(1, 6)), height, width),
            draw(st.integers(1, 35)),
            kernel,
            seed=draw(st.integers(0, 99)),
            residual=draw(st.booleans()),
            zero_point=draw(st.sampled_from([-128, -5, 0, 127])),
            strides=[draw(st.integers(1, 3)), draw(st.integers(1, 3))],
            dilations=[dilation] * 2,
            pads=pads,
        ),
        draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        extremes=draw(st.booleans()),
    )
    assert_equals_dense(
        graph,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.sampled_from(["fast", "exact"])),
    )


@pytest.mark.parametrize("shape", [(64, 8, 8), (16, 32, 32), (4, 5, 225), (40, 14, 14), (4, 1, 1)])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("extremes", [False, True])
def test_on_every_instruction_set(isa, shape, kernel, extremes):
    graph = pruned(conv(shape, 40, kernel, residual=True), 0.7, extremes=extremes)
    session, x = assert_equals_dense(graph, 2)
    assert sum("sparse" in name for name in kernels(session, x)) == 2


def test_weights_of_minus_128(isa):
    """What pairs of products cannot hold is multiplied in two steps."""
    graph = conv((8, 6, 9), 17)
    w = np.random.default_rng(0).choice(np.array([-128, -1, 0, 127], np.int8), (17, 8, 3, 3))
    graph.set_constant(graph.edges[graph.nodes[1].inputs[1]].name, w)
    x = np.random.default_rng(1).normal(size=(2, 8, 6, 9), scale=9).astype(np.float32)
    truth = tersor.Session(graph, provider="reference")(x)
    np.testing.assert_array_equal(tersor.Session(graph, provider="sparse")(x), truth)


@pytest.mark.parametrize(
    ("room", "op"),
    [("quantization", "finish_int8"), ("sparse", "spmm_pairs"), ("runtime", "shift_planes")],
)
def test_reference_kernels(room, op):
    graph = pruned(conv((12, 9, 21), 35, residual=True), 0.6)
    _core.base.force_kernel(room, op, "ref")
    try:
        assert_equals_dense(graph, 2)
    finally:
        _core.base.force_kernel(room, op, "")


def test_threads_and_batches_give_the_same_codes():
    graph = pruned(int8_residual_network(channels=40, size=17), 0.8)
    for threads in (1, 2, 3):
        assert_equals_dense(graph, 5, threads)


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_dense_layers(rows):
    b = Int8Builder()
    x = b.quantize(b.input((rows, 36)), 0.03, 4)
    y = b.layer("dense", x, (50, 36), 0.02, -3, "one")
    graph = pruned(b.done(b.node("dequantize", y, name="y")), 0.7)
    session, x = assert_equals_dense(graph, 3)
    assert any("sparse gemm" in name for name in kernels(session, x))


@pytest.mark.parametrize("channels", [3, 6])
def test_odd_channels_and_groups_stay_dense(channels):
    graph = pruned(conv((channels, 9, 9), 12), 0.9)
    session, x = assert_equals_dense(graph, 2)
    assert not any("sparse" in name for name in kernels(session, x))
    grouped = pruned(conv((8, 9, 9), 12, groups=2), 0.9)
    session, x = assert_equals_dense(grouped, 2)
    assert not any("sparse" in name for name in kernels(session, x))


def test_what_is_chosen_follows_the_share_of_zeros():
    chosen = []
    for sparsity in (0.0, 0.3, 0.97):
        graph = pruned(conv((64, 16, 16), 64), sparsity)
        x = np.zeros((1, 64, 16, 16), np.float32)
        chosen.append(any("sparse" in name for name in kernels(tersor.Session(graph), x)))
    assert chosen == [False, False, True]
