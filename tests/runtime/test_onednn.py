"""The oneDNN provider: its choice of instructions is fixed at first use, so a process a level."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tests.networks import Int8Builder

from .float_layers import EPS, NAMED, Layer, check, layers

pytest.importorskip("torch", reason="the truth is computed by PyTorch in float64")
pytestmark = pytest.mark.skipif(not _core.base.onednn_version(), reason="this build has no oneDNN")
needs_avx2 = pytest.mark.skipif(
    "avx2" not in tersor.supported_isas(), reason="oneDNN is not used without AVX2"
)


def check_all_named() -> None:
    """Run by a process of its own for each instruction set."""
    uses = []
    for layer in NAMED.values():
        check(layer, provider="onednn")
        check(replace(layer, batch=3), provider="onednn", threads=2)
        uses.append(layer.kernel_name(provider="onednn"))
    print("\n".join(uses))


@pytest.mark.parametrize("level", tersor.supported_isas())
def test_real_layers_at_each_level(level: str) -> None:
    code = "from tests.runtime.test_onednn import check_all_named; check_all_named()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TERSOR_ISA": level},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = done.stdout.splitlines()
    used = [k for k in kernels if k.startswith("onednn ")]
    if level == "baseline":
        assert not used
    else:
        assert len(used) >= len(NAMED) - 4  # those that oneDNN has in plain loops only
        if level == "avx2":
            assert not any("avx512" in k for k in kernels)


@needs_avx2
@settings(max_examples=80, deadline=None)
@given(layer=layers(), threads=st.sampled_from([1, 2]))
def test_any_layer(layer: Layer, threads: int) -> None:
    assume(layer.valid)
    check(layer, provider="onednn", threads=threads)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("batch", [1, 5])
def test_threads_do_not_change_a_bit(name: str, batch: int) -> None:
    layer = replace(NAMED[name], batch=batch)
    one = layer.run(provider="onednn", threads=1)
    np.testing.assert_array_equal(layer.run(provider="onednn", threads=2), one)


def dense_graph(inputs: int, outputs: int, op: str = "dense") -> tersor.Graph:
    rng = np.random.default_rng(0)
    graph = tersor.Graph()
    ids = [graph.add_input("x", "float32", (None, inputs))]
    ids.append(graph.add_constant("w", rng.normal(size=(outputs, inputs)).astype(np.float32)))
    ids.append(graph.add_constant("b", rng.normal(size=outputs).astype(np.float32)))
    graph.set_outputs([graph.add_node(op, ids, {"activation": "relu"})])
    return graph


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 10), (640, 129)])
def test_dense(rows: int, inputs: int, outputs: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
    graph = dense_graph(inputs, outputs)
    expected = tersor.Session(graph, provider="reference")(x)
    results = [tersor.Session(graph, threads=n, provider="onednn")(x) for n in (1, 2)]
    np.testing.assert_allclose(results[0], expected, rtol=0, atol=4 * inputs * EPS * 12)
    np.testing.assert_array_equal(*results)


INT8 = {
    "stem": {"inputs": 3, "outputs": 16, "strides": [2, 2], "activation": "relu"},
    "square": {"inputs": 32, "outputs": 48, "activation": "relu6"},
    "pointwise": {"inputs": 24, "outputs": 40, "kernel": 1},
    "depthwise": {"inputs": 32, "outputs": 32, "groups": 32, "activation": "relu6"},
    "grouped": {"inputs": 16, "outputs": 32, "groups": 4},
}


def int8_graph(inputs: int, outputs: int, **attributes: object) -> tersor.Graph:
    b = Int8Builder()
    x = b.quantize(b.input((inputs, 9, 11)), 0.03, -5)
    zero_point = -128 if "activation" in attributes else 7
    y = b.conv8(x, outputs, 0.04, zero_point, "layer", **attributes)
    return b.done(b.node("dequantize", y, name="y"))


@pytest.mark.skipif(
    not {"avx512vnni", "avxvnni"} & set(_core.base.cpu_features()),
    reason="without VNNI oneDNN's int8 sums are wrong and it is not used",
)
@pytest.mark.parametrize("name", INT8)
@pytest.mark.parametrize("batch", [1, 3])
def test_int8(name: str, batch: int) -> None:
    graph = int8_graph(**INT8[name])
    shape = (batch, INT8[name]["inputs"], 9, 11)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    session = tersor.Session(graph, provider="onednn")
    codes = np.rint(session(x) / np.float32(0.04))
    expected = np.rint(tersor.Session(graph, provider="reference")(x) / np.float32(0.04))
    # The contract of `fast` arithmetic: at most one code, on at most 1 % of the codes.
    assert np.abs(codes - expected).max() <= 1
    assert (codes != expected).mean() <= 0.01
    if name in ("square", "pointwise"):  # others may be plain loops there, which are declined
        assert any(row.kernel.startswith("onednn int8 ") for row in session.profile(x, repeats=1))


def test_int8_needs_vnni() -> None:
    if {"avx512vnni", "avxvnni"} & set(_core.base.active_features()):
        pytest.skip("this CPU has VNNI")
    graph = int8_graph(**INT8["square"])
    x = np.zeros((1, 32, 9, 11), np.float32)
    profile = tersor.Session(graph, provider="onednn").profile(x, repeats=1)
    assert not any("onednn int8" in row.kernel for row in profile)


@needs_avx2
@pytest.mark.parametrize("shape", [(2, 3, 8, 16, 33), (1, 1, 70, 64, 70)])
def test_matmul(shape: tuple[int, ...]) -> None:
    *batch, rows, depth, columns = shape
    rng = np.random.default_rng(0)
    a = rng.normal(size=(*batch, rows, depth)).astype(np.float32)
    b = rng.normal(size=(*batch, depth, columns)).astype(np.float32)
    graph = tersor.Graph()
    ids = [graph.add_input("a", "float32", a.shape), graph.add_input("b", "float32", b.shape)]
    graph.set_outputs([graph.add_node("matmul", ids, {})])
    results = [tersor.Session(graph, threads=n, provider="onednn")(a, b) for n in (1, 2)]
    size = np.abs(a).astype(np.float64) @ np.abs(b)
    assert (np.abs(results[0] - a.astype(np.float64) @ b) <= (depth + 2) * EPS * size).all()
    np.testing.assert_array_equal(*results)


@needs_avx2
@pytest.mark.parametrize("name", ["resnet16", "depthwise", "expand", "transposed"])
def test_concurrent_calls(name: str) -> None:
    layer = replace(NAMED[name], residual=False)
    session = tersor.Session(layer.graph(), provider="onednn")
    inputs = [replace(layer, seed=i).values()[0] for i in range(12)]
    expected = [session(x) for x in inputs]
    with ThreadPoolExecutor(12) as pool:
        for _ in range(5):
            for got, wanted in zip(pool.map(session, inputs), expected, strict=True):
                np.testing.assert_array_equal(got, wanted)


def test_openmp_setting_of_the_process_is_kept() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    NAMED["expand"].run(provider="onednn")
    assert torch.get_num_threads() == before


def test_no_threads_are_left() -> None:
    code = (
        "import os, tersor; from tests.runtime.float_layers import NAMED\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "NAMED['expand'].run(provider='onednn', threads=1)\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


def test_unknown_provider() -> None:
    with pytest.raises(
        ValueError, match="provider must be native, onednn, dense, sparse or reference, got fast"
    ):
        NAMED["expand"].run(provider="fast")


def _in_child(session: tersor.Session, x: np.ndarray, queue: multiprocessing.SimpleQueue) -> None:
    queue.put(session(x))


@pytest.mark.parametrize("name", ["resnet16", "depthwise", "expand"])
def test_in_a_forked_child(name: str) -> None:
    layer = replace(NAMED[name], residual=False)
    session = tersor.Session(layer.graph(), threads=2, provider="onednn")
    x = layer.values()[0]
    expected = session(x)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(session, x, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(), expected)
    child.join()
