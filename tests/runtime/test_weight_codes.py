"""Sessions on weight codes: what each provider computes, and which kernel is named."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.quantization import dequantize

WeightFormat = _core.graph.WeightFormat


def convolutional(bits=4, group=32):
    """conv, depthwise conv, conv_transpose and dense, all on codes; and the same on their reals."""
    rng = np.random.default_rng(0)
    graph = tersor.Graph()

    def constant(name, *shape):
        return graph.add_constant(name, rng.normal(size=shape).astype(np.float32))

    x = graph.add_input("x", "float32", (None, 3, 8, 8))
    a = {"activation": "relu"}
    y = graph.add_node("conv", [x, constant("a", 8, 3, 3, 3), constant("ab", 8)], a, "conv")
    y = graph.add_node("conv", [y, constant("b", 8, 1, 3, 3)], {"groups": 8}, "depthwise")
    y = graph.add_node("conv_transpose", [y, constant("c", 8, 4, 2, 2)], {"strides": [2, 2]}, "up")
    y = graph.add_node("reduce_mean", [y], {"axes": [2, 3], "keepdims": 0}, "mean")
    graph.set_outputs([graph.add_node("dense", [y, constant("d", 10, 4)], {}, "fc")])
    formats = {n: WeightFormat(bits, group_size=group) for n in ("conv", "depthwise", "up", "fc")}
    assert graph.quantize_weights_only(formats) == {}
    reals = graph.clone()
    assert reals.decode_weights() == 4
    return graph, reals


@pytest.mark.parametrize("provider", ["", "native", "onednn", "reference"])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_network_of_the_reals(provider, batch):
    graph, reals = convolutional()
    x = np.random.default_rng(1).normal(size=(batch, 3, 8, 8)).astype(np.float32)
    got = tersor.Session(graph, provider=provider)(x)
    np.testing.assert_array_equal(got, tersor.Session(reals, provider=provider)(x))


def large_dense(bits=4, group=32, zero=False, outputs=256, inputs=512, add=False):
    rng = np.random.default_rng(2)
    w = rng.normal(size=(outputs, inputs)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, inputs))
    ids = [x, graph.add_constant("w", w), graph.add_constant("b", bias)]
    y = graph.add_node("dense", ids, {"activation": "none" if add else "relu"}, "fc")
    if add:
        y = graph.add_node("add", [y, graph.add_node("abs", [x])], {}, "sum")
    graph.set_outputs([y])
    graph.quantize_weights_only({"fc": WeightFormat(bits, group_size=group, float_zero_point=zero)})
    return graph, bias


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("group", [0, 32, 128])
@pytest.mark.parametrize("zero", [False, True])
def test_dense_kernels(isa, bits, group, zero):
    graph, bias = large_dense(bits, group, zero)
    w = dequantize(graph.edge("w").constant, graph.edge("w").qparams).astype(np.float64)
    for rows in (1, 3, 20):
        x = np.random.default_rng(rows).normal(size=(rows, 512)).astype(np.float32)
        session = tersor.Session(graph, micro_batch=32, provider="native")
        expected = np.maximum(x @ w.T + bias, 0)
        np.testing.assert_allclose(session(x), expected, rtol=1e-4, atol=1e-3)
        kernel = session.profile(x).layers[0].kernel
        # rows_per_task divides a batch in four, so that 20 rows run five by five
        on_codes = "dense_int4" if bits <= 4 else "dense_int8"
        assert (on_codes in kernel) == (rows <= 4)


def test_threads_change_nothing():
    graph, _ = large_dense(outputs=1024)
    x = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
    one, two = (tersor.Session(graph, threads=t, provider="native")(x) for t in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_residual_is_added():
    graph, bias = large_dense(outputs=512, add=True)
    w = dequantize(graph.edge("w").constant, graph.edge("w").qparams).astype(np.float64)
    x = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    expected = x @ w.T + bias + np.abs(x)
    np.testing.assert_allclose(tersor.Session(graph)(x), expected, rtol=1e-4, atol=1e-3)


def test_groups_that_no_kernel_takes():
    graph, bias = large_dense(group=48)
    w = dequantize(graph.edge("w").constant, graph.edge("w").qparams).astype(np.float64)
    x = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
    session = tersor.Session(graph, provider="native")
    np.testing.assert_allclose(session(x), np.maximum(x @ w.T + bias, 0), rtol=1e-4, atol=1e-3)
    assert "dense_int4" not in session.profile(x).layers[0].kernel


def dynamic(outputs=40, inputs=70, activation="relu"):
    rng = np.random.default_rng(3)
    graph = tersor.Graph()
    ids = [
        graph.add_input("x", "float32", (None, 6, inputs)),
        graph.add_constant("w", rng.normal(size=(outputs, inputs)).astype(np.float32)),
        graph.add_constant("b", rng.normal(size=outputs).astype(np.float32)),
    ]
    graph.set_outputs([graph.add_node("dense", ids, {"activation": activation}, "fc")])
    assert graph.quantize_weights_only({"fc": WeightFormat(8, dynamic=True)}) == {}
    return graph


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
def test_dynamic_equals_the_reference(isa, batch, activation):
    graph = dynamic(activation=activation)
    x = np.random.default_rng(batch).normal(size=(batch, 6, 70)).astype(np.float32)
    session = tersor.Session(graph, provider="native")
    expected = tersor.Session(graph, provider="reference")(x)
    np.testing.assert_array_equal(session(x), expected)
    assert "dense_dynamic" in session.profile(x).layers[0].kernel
    np.testing.assert_array_equal(tersor.Session(graph, threads=2)(x), expected)


def test_weights_of_codes_can_be_updated():
    graph, bias = large_dense()
    session = tersor.Session(graph)
    x = np.ones((1, 512), np.float32)
    before = session(x)
    session.update_weights("w", np.zeros((256, 512), np.int8))
    np.testing.assert_allclose(session(x)[0], np.maximum(bias, 0), rtol=1e-6)
    assert not np.array_equal(before, session(x))


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("k", [16, 17])
def test_codebooks_are_looked_up_in_large_layers(isa, tables, k):
    rng = np.random.default_rng(k)
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 512))
    bias = rng.normal(size=512).astype(np.float32)
    w = np.zeros((512, 512), np.float32)
    ids = [x, graph.add_constant("w", w), graph.add_constant("b", bias)]
    graph.set_outputs([graph.add_node("dense", ids, {"activation": "relu"}, "fc")])
    table = np.sort(rng.normal(size=(tables, k)).astype(np.float32), axis=1)
    q = _core.quantization.QParams(scale=[0.5], zero_point=[0], axis=None, codebook=table)
    codes = rng.integers(0, k, w.shape).astype(np.uint8)
    graph.set_weight_codes("fc", codes, q)
    w = dequantize(codes, q).astype(np.float64)
    for rows in (1, 2, 20):
        x = rng.normal(size=(rows, 512)).astype(np.float32)
        session = tersor.Session(graph, micro_batch=32, provider="native")
        size = np.abs(x) @ np.abs(w).T + np.abs(bias)
        error = np.abs(session(x) - np.maximum(x @ w.T + bias, 0))
        assert (error <= 520 * 2.0**-23 * size).all()
        kernel = session.profile(x).layers[0].kernel
        looked_up = k == 16 and rows < 3 and tersor.active_isa() != "baseline"
        assert ("lookup_" in kernel) == looked_up
        assert ("columns" in kernel) == (
            looked_up and tables == 1 and "512" not in tersor.active_isa()
        )
