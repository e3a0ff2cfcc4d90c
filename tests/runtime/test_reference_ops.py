"""The reference provider against NumPy float64, its int8 against TFLite's formulas."""

from __future__ import annotations

import numpy as np
import pytest

import tersor

from . import fixed_point
from .operator_cases import BATCH, CASES, CONSTRAINTS, Case, build, draw, quantized, truth

EPS = np.finfo(np.float32).eps
MIXED = {"quantize", "dequantize", "requantize"}  # test_quantize_ops.py
QUANTIZED = [c for c in CASES if c.constraint != "none"]


def ids(cases: list[Case]) -> list[str]:
    return [c.id for c in cases]


def test_every_operator_has_a_case() -> None:
    assert {c.op for c in CASES} | MIXED == set(CONSTRAINTS)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_float_equals_numpy(case: Case) -> None:
    inputs, constants = draw(case)
    y = tersor.Session(build(case, inputs, constants), provider="reference")(*inputs)
    expected = truth(case, [*inputs, *constants])
    assert y.shape == expected.shape
    # Double sums rounded once; log_softmax of values near 1 is relative to the row, not the result.
    scale = np.abs(expected).max() if case.op in ("log_softmax", "layer_norm") else np.abs(expected)
    assert (np.abs(y - expected) <= EPS * scale + 1e-12).all()


@pytest.mark.parametrize("case", QUANTIZED, ids=ids(QUANTIZED))
@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
def test_codes_are_within_one_of_the_real_result(case: Case, arithmetic: str) -> None:
    q = quantized(case)
    y = tersor.Session(q.graph, provider="reference", arithmetic=arithmetic)(*q.inputs)
    expected = truth(case, q.operands) / q.output.scale[0] + q.output.zero_point[0]
    expected = np.clip(expected, -128, 127)
    assert y.dtype == np.int8
    # Half a code of rounding. Exact arithmetic rounds twice, and resizes with 10-bit weights in
    # both, as do functions that TFLite has integers for; fast adds what the first rounding adds, at
    # most a quarter.
    twice = ("resize", "relu", "leaky_relu", "hard_swish")
    slack = 0.5 + (0.2501 if arithmetic == "fast" and case.op not in twice else 0.51)
    assert np.abs(y - expected).max() <= slack


# The rest moves codes or passes a table: the test against the real result says all.
INTEGER = [c for c in QUANTIZED if c.op in fixed_point.FORMULAS]


@pytest.mark.parametrize("case", INTEGER, ids=ids(INTEGER))
def test_exact_arithmetic_is_the_integer_formula(case: Case) -> None:
    q = quantized(case)
    y = tersor.Session(q.graph, provider="reference", arithmetic="exact")(*q.inputs)
    np.testing.assert_array_equal(y, fixed_point.FORMULAS[case.op](case, q))


@pytest.mark.parametrize("op", sorted({c.op for c in QUANTIZED}))
def test_fast_arithmetic_is_exact_on_nearly_all_codes(op: str) -> None:
    off = []
    for case in QUANTIZED:
        if case.op == op:
            q = quantized(case)
            fast, exact = (
                tersor.Session(q.graph, provider="reference", arithmetic=a)(*q.inputs).astype(int)
                for a in ("fast", "exact")
            )
            off.append(np.abs(fast - exact).ravel())
    off = np.concatenate(off)
    assert off.max() <= 1
    assert (off > 0).mean() <= 0.01


@pytest.mark.parametrize("op", sorted(set(CONSTRAINTS) - MIXED))
def test_every_operator_runs_in_every_arithmetic(op: str) -> None:
    """Completeness: float32 always, int8 wherever the operator's constraint allows codes."""
    case = next(c for c in CASES if c.op == op)
    inputs, constants = draw(case)
    tersor.Session(build(case, inputs, constants), provider="reference")(*inputs)
    if case.constraint == "none":
        return
    q = quantized(case)
    for arithmetic in ("fast", "exact"):
        tersor.Session(q.graph, provider="reference", arithmetic=arithmetic)(*q.inputs)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_empty_batch(case: Case) -> None:
    inputs, constants = draw(case)
    graph = build(case, inputs, constants)
    y = tersor.Session(graph, provider="reference")(*[x[:0] for x in inputs])
    assert y.shape == (0, *truth(case, [*inputs, *constants]).shape[1:])


def test_bfloat16_rounds_operands() -> None:
    case = next(c for c in CASES if c.op == "dense")
    inputs, constants = draw(case)
    y = tersor.Session(build(case, inputs, constants), provider="reference", precision="bf16")(
        *inputs
    )

    def rounded(x: np.ndarray) -> np.ndarray:
        bits = x.view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    expected = truth(case, [rounded(inputs[0]), rounded(constants[0]), *constants[1:]])
    assert (np.abs(y - expected) <= EPS * np.abs(expected) + 1e-12).all()


@pytest.mark.parametrize("op", ["relu", "clip", "sigmoid", "tanh", "gelu", "exp", "softplus"])
def test_nan_stays_nan(op: str) -> None:
    case = next(c for c in CASES if c.op == op)
    inputs, constants = draw(case)
    inputs[0][1, 2] = np.nan
    y = tersor.Session(build(case, inputs, constants), provider="reference")(*inputs)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(inputs[0]))


def test_gather_index_out_of_range_is_named() -> None:
    case = next(c for c in CASES if c.op == "gather")
    inputs, constants = draw(case)
    constants[-1][0] = 100
    session = tersor.Session(build(case, inputs, constants), provider="reference")
    with pytest.raises(ValueError, match=r"gather \(node\): index must be in \[-6, 6\), got 100"):
        session(*inputs)


def test_mixed_types_are_refused() -> None:
    graph = tersor.Graph()
    x = graph.add_input("x", "int64", (None, 3))
    graph.set_outputs([graph.add_node("relu", [x], {}, "node")])
    with pytest.raises(tersor.UnsupportedError, match=r"relu \(node\): edges must be all float32"):
        tersor.Session(graph, provider="reference")(np.zeros((BATCH, 3), np.int64))
