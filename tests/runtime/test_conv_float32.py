"""tersor's own float convolutions, dense layers and products, every variant and instruction set."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core

from .float_layers import EPS, NAMED, Layer, check, layers

pytest.importorskip("torch", reason="the truth is computed by PyTorch in float64")


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("batch", [1, 3])
def test_real_layers(isa: str, name: str, batch: int) -> None:
    check(replace(NAMED[name], batch=batch), provider="native")


@settings(max_examples=150, deadline=None)
@given(
    layer=layers(), isa=st.sampled_from(tersor.supported_isas()), threads=st.sampled_from([1, 2])
)
def test_any_layer(layer: Layer, isa: str, threads: int) -> None:
    assume(layer.valid)
    tersor.force_isa(isa)
    try:
        check(layer, provider="native", threads=threads)
    finally:
        tersor.force_isa("")


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("resnet16", "winograd_float32"),
        ("resnet64", "winograd_float32"),
        ("stem", "conv_float32"),
        ("expand", "conv_float32"),
        ("transposed", "conv_float32"),
        ("depthwise", "depthwise_float32"),
        ("depthwise-multiplier", "conv_float32"),
    ],
)
def test_kernels_chosen(name: str, kernel: str) -> None:
    chosen = NAMED[name].kernel_name(provider="native")
    assert chosen.startswith(f"native {kernel} ")


@pytest.mark.parametrize("op", ["conv_line", "depthwise_line", "winograd_input", "winograd_output"])
def test_every_variant(op: str) -> None:
    rows = [k for k in _core.base.kernels() if k["op"] == f"{op}_float32" and k["available"]]
    assert {"ref", "simd_baseline"} <= {k["variant"] for k in rows}
    for name in (
        "resnet16",
        "winograd-odd",
        "depthwise",
        "depthwise-stride",
        "stem",
        "project",
        "dilated",
    ):
        for row in rows:
            _core.base.force_kernel("runtime", row["op"], row["variant"])
            try:
                check(NAMED[name], provider="native")
            finally:
                _core.base.force_kernel("runtime", row["op"], "")


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_threads_do_not_change_a_bit(name: str, batch: int) -> None:
    layer = replace(NAMED[name], batch=batch)
    one = layer.run(provider="native", threads=1)
    for n in (2, 3):
        np.testing.assert_array_equal(layer.run(provider="native", threads=n), one)


@pytest.mark.parametrize("name", ["depthwise", "expand", "stem", "down"])
def test_batches_do_not_change_a_bit(name: str) -> None:
    x = replace(NAMED[name], batch=5).values()[0]
    session = tersor.Session(NAMED[name].graph(), provider="native")
    whole = session(x)
    for i in range(5):
        np.testing.assert_array_equal(session(x[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("name", ["depthwise", "expand", "stem", "dilated"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-41, 3e38])
def test_special_values_reach_exactly_their_outputs(isa: str, name: str, value: float) -> None:
    layer = replace(NAMED[name], activation="none")
    x = layer.values()[0]
    session = tersor.Session(layer.graph(), provider="native")
    x[0, 1, 4, 3] = value
    got = session(x)
    expected = tersor.Session(layer.graph(), provider="reference")(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-3, atol=1e-4)


def test_relu_keeps_nan(isa: str) -> None:
    for activation in ("relu", "relu6"):
        layer = replace(NAMED["expand"], activation=activation)
        x = layer.values()[0]
        x[0, 0, 5, 6] = np.nan
        y = tersor.Session(layer.graph(), provider="native")(x)
        assert np.isnan(y[0, :, 5, 6]).all()
        assert np.isnan(y).sum() == y.shape[1]


@pytest.mark.parametrize("rows", [1, 2, 5, 13, 100])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 10), (64, 33), (1280, 1000)])
def test_dense(isa: str, rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, inputs)).astype(np.float32)
    w = rng.normal(size=(outputs, inputs)).astype(np.float32)
    b = rng.normal(size=outputs).astype(np.float32)
    graph = tersor.Graph()
    ids = [
        graph.add_input("x", "float32", (None, inputs)),
        graph.add_constant("w", w),
        graph.add_constant("b", b),
    ]
    graph.set_outputs([graph.add_node("dense", ids, {"activation": "relu"})])
    expected = np.maximum(x.astype(np.float64) @ w.T.astype(np.float64) + b, 0)
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(b)
    results = [tersor.Session(graph, threads=n, provider="native")(x) for n in (1, 2)]
    assert (np.abs(results[0] - expected) <= (inputs + 3) * EPS * size).all()
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4, 5), (5, 6)),
        ((1, 64), (64, 17)),
        ((2, 3, 8, 16), (2, 3, 16, 33)),
        ((2, 3, 8, 16), (16, 33)),
        ((2, 1, 8, 16), (2, 3, 16, 5)),
        ((8, 16), (2, 3, 16, 5)),
        ((3, 200, 64), (3, 64, 200)),
        ((1, 300, 64), (1, 64, 48)),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_matmul(isa: str, left: tuple[int, ...], right: tuple[int, ...], constant: bool) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=left).astype(np.float32)
    b = rng.normal(size=right).astype(np.float32)
    graph = tersor.Graph()
    ids = [graph.add_input("a", "float32", left)]
    ids.append(graph.add_constant("b", b) if constant else graph.add_input("b", "float32", right))
    graph.set_outputs([graph.add_node("matmul", ids, {})])
    given = [a] if constant else [a, b]
    expected = a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    sessions = [tersor.Session(graph, threads=n, provider="native") for n in (1, 2)]
    results = [s(*given) for s in sessions]
    assert any("matmul_float32" in row.kernel for row in sessions[0].profile(*given, repeats=1))
    assert (np.abs(results[0] - expected) <= (left[-1] + 2) * EPS * size).all()
    np.testing.assert_array_equal(*results)


def test_bfloat16_says_what_is_computed() -> None:
    kernel = NAMED["down"].kernel_name(provider="native", precision="bf16")
    assert kernel.endswith("(bf16 computed in fp32)")


def _in_child(session: tersor.Session, x: np.ndarray, queue: multiprocessing.SimpleQueue) -> None:
    queue.put(session(x))


@pytest.mark.parametrize("name", ["resnet16", "depthwise", "expand"])
def test_in_a_forked_child(name: str) -> None:
    layer = replace(NAMED[name], residual=False)
    session = tersor.Session(layer.graph(), threads=2, provider="native")
    x = layer.values()[0]
    expected = session(x)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(session, x, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(), expected)
    child.join()
