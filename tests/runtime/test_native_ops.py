"""Native steps against the reference provider: every operator, instruction set and batch.

Through them run the kernels elementwise_float32, elementwise_codes, rows_float32 and pool_window.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tersor

from .operator_cases import CASES, SIZES, Case, build, draw, quantized

EPS = np.finfo(np.float32).eps
QUANTIZED = [c for c in CASES if c.constraint != "none"]
UNARY = [c for c in CASES if c.inputs == ((5, 7),) and not c.constants]
BINARY = [c for c in CASES if c.op in ("add", "sub", "mul", "div", "minimum", "maximum")]

# What the reference alone has, natively or through memcpy of its own.
REFERENCE_ONLY = {"gather", "cast", "batch_norm"}


def ids(cases: list[Case]) -> list[str]:
    return [c.id for c in cases]


def largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0))


def tolerance(case: Case, operands: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    """Bound of |native - reference| from the kernels' headers; both sides round."""
    size = np.abs(y)
    if case.op in ("conv", "conv_transpose", "dense", "matmul"):
        # |error| <= (n + 2) eps sum |x w|, bounded by norms; Winograd's transforms: a factor of 8.
        terms = np.prod(operands[1].shape[1:] if case.op != "matmul" else operands[1].shape[-2:-1])
        return np.full(y.shape, 8 * (terms + 2) * EPS * largest(operands[0]) * largest(operands[1]))
    if case.op == "hard_sigmoid":  # a product and a sum that may cancel
        return 2 * EPS * (np.abs(operands[0]) * case.attributes["alpha"] + case.attributes["beta"])
    if case.op in ("gelu", "silu", "hard_swish"):
        return 4 * EPS * np.maximum(size, np.abs(operands[0])) + EPS * size
    if case.op in ("softmax", "log_softmax"):
        return (
            (operands[0].shape[case.attributes["axis"]] / 16 + 17)
            * EPS
            * (size + (case.op != "softmax"))
        )
    if case.op == "resize":
        return 6 * EPS * np.full(y.shape, largest(operands[0]))
    if case.op in ("layer_norm", "avg_pool") or case.op.startswith("reduce"):
        n = operands[0][:1].size
        return n * EPS * (largest(operands[0]) + size)
    return 5 * EPS * size + np.float32(1e-37)


@pytest.mark.parametrize("batch", [0, 1, 9])
@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_float_equals_reference(isa: str, case: Case, batch: int) -> None:
    inputs, constants = draw(case, seed=batch, batch=batch)
    graph = build(case, inputs, constants)
    y = tersor.Session(graph)(*inputs)
    expected = tersor.Session(graph, provider="reference")(*inputs)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert (np.abs(y - expected) <= tolerance(case, [*inputs, *constants], expected)).all()


@pytest.mark.parametrize("batch", [0, 1, 9])
@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
@pytest.mark.parametrize("case", QUANTIZED, ids=ids(QUANTIZED))
def test_codes_equal_reference(isa: str, case: Case, arithmetic: str, batch: int) -> None:
    # Both follow one formula on exact sums, so that even `fast` agrees to the bit.
    q = quantized(case, seed=batch, batch=batch)
    y = tersor.Session(q.graph, arithmetic=arithmetic)(*q.inputs)
    expected = tersor.Session(q.graph, provider="reference", arithmetic=arithmetic)(*q.inputs)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", UNARY, ids=ids(UNARY))
def test_unary_over_sizes_and_extremes(isa: str, case: Case) -> None:
    for n in SIZES:
        x = np.random.default_rng(n).normal(scale=4, size=(1, n)).astype(np.float32)
        if case.kind == "positive":
            x = np.abs(x)
        specials = [0, -0.0, 1e-40, -1e-40, 1e-30, 88, 89, -88, -104, 20, -20, 1e30, np.inf, np.nan]
        if case.kind != "positive":
            specials += [-np.inf, -1e30, -1.0]
        x[0, : len(specials)] = specials[:n]
        graph = build(case, [x], [])
        y = tersor.Session(graph)(x)
        expected = tersor.Session(graph, provider="reference")(x)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
        finite = np.isfinite(expected)
        x, y, expected = x[finite], y[finite], expected[finite]
        bound = tolerance(case, [np.where(np.isfinite(x), x, 0)], expected)
        assert (np.abs(y - expected) <= bound).all(), (n, x, y, expected)


@pytest.mark.parametrize(
    "op", ["sigmoid", "tanh", "exp", "erf", "gelu", "silu", "log", "softplus", "elu"]
)
def test_dense_sweep_stays_within_four_units(isa: str, op: str) -> None:
    case = next(c for c in CASES if c.op == op)
    x = np.linspace(-20, 20, 200_001, dtype=np.float32)[None]
    x = np.abs(x) + np.float32(1e-6) if case.kind == "positive" else x
    graph = build(case, [x], [])
    y = tersor.Session(graph)(x)
    expected = tersor.Session(graph, provider="reference")(x)
    bound = 4.5 * np.maximum(np.spacing(np.abs(expected)), 1e-45)
    if op in ("gelu", "silu"):
        bound = np.maximum(bound, 4.5 * EPS * np.abs(x))
    worst = (np.abs(y - expected) / bound).max()
    assert worst <= 1, worst


@pytest.mark.parametrize("case", BINARY, ids=ids(BINARY))
def test_binary_float_is_bit_equal(isa: str, case: Case) -> None:
    inputs, constants = draw(case)
    inputs[0].ravel()[::3] = np.nan
    graph = build(case, inputs, constants)
    with np.errstate(all="ignore"):
        y, expected = (tersor.Session(graph, provider=p)(*inputs) for p in ("", "reference"))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
def test_binary_over_all_pairs_of_codes(isa: str, op: str, arithmetic: str) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    a, b = (x.reshape(1, -1) for x in np.meshgrid(codes, codes))
    q = tersor._core.quantization.QParams
    params = [q(scale=[s], zero_point=[z]) for s, z in ((0.031, 5), (0.47, -100), (0.2, 17))]
    case = Case(op, ((a.size,), (a.size,)), (), {"activation": "relu6"})
    graph = build(case, [a, b], [], params[:2], params[2])
    y = tersor.Session(graph, arithmetic=arithmetic)(a, b)
    expected = tersor.Session(graph, provider="reference", arithmetic=arithmetic)(a, b)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 255, 256, 257, 515])
@pytest.mark.parametrize("op", ["hard_swish", "neg"])
def test_unary_over_all_codes(isa: str, op: str, size: int) -> None:
    codes = np.resize(np.roll(np.arange(-128, 128), 77), (1, size)).astype(np.int8)
    q = tersor._core.quantization.QParams
    case = Case(op, ((size,),), (), {})
    params = q(scale=[0.05], zero_point=[-60]), q(scale=[0.05], zero_point=[40])
    graph = build(case, [codes], [], [params[0]], params[1])
    y = tersor.Session(graph)(codes)
    expected = tersor.Session(graph, provider="reference")(codes)
    np.testing.assert_array_equal(y, expected)
    if size >= 256:
        assert len(np.unique(y)) > 60


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_operators_have_a_native_step(case: Case) -> None:
    inputs, constants = draw(case)
    profile = tersor.Session(build(case, inputs, constants)).profile(*inputs, repeats=1)
    kernels = [layer.kernel for layer in profile if layer.op == case.op]
    expected_reference = (
        case.op in REFERENCE_ONLY
        or (case.op == "softmax" and case.attributes["axis"] == 1)
        or (case.op == "pad" and case.attributes["mode"] != "constant")
        or (case.op in ("conv", "conv_transpose", "max_pool") and len(case.inputs[0]) == 4)
        or case.op == "pow"
        or case.attributes.get("axes") == [1, 3]
    )
    assert kernels == [] or expected_reference or not kernels[0].startswith("reference"), kernels


@pytest.fixture
def scalar_kernels() -> Iterator[None]:
    """Every table of the room picks its `ref` row."""
    rows = [
        r for r in tersor._core.base.kernels() if r["room"] == "runtime" and r["variant"] == "ref"
    ]
    for row in rows:
        tersor._core.base.force_kernel("runtime", row["op"], "ref")
    yield
    for row in rows:
        tersor._core.base.force_kernel("runtime", row["op"], "")


def test_scalar_kernels_equal_reference(scalar_kernels: None) -> None:
    for case in CASES:
        inputs, constants = draw(case)
        graph = build(case, inputs, constants)
        y, expected = (tersor.Session(graph, provider=p)(*inputs) for p in ("", "reference"))
        assert (np.abs(y - expected) <= tolerance(case, [*inputs, *constants], expected)).all(), (
            case
        )
    for case in QUANTIZED:
        q = quantized(case)
        for arithmetic in ("fast", "exact"):
            y, expected = (
                tersor.Session(q.graph, provider=p, arithmetic=arithmetic)(*q.inputs)
                for p in ("", "reference")
            )
            np.testing.assert_array_equal(y, expected, str(case))


def test_threads_do_not_change_results(threads: int) -> None:
    for case in CASES:
        inputs, constants = draw(case)
        graph = build(case, inputs, constants)
        y, one = (tersor.Session(graph, threads=n)(*inputs) for n in (threads, 1))
        np.testing.assert_array_equal(y, one)
