"""Range search: the best of its candidates, the same by every kernel (range_search.h)."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.quantization import HistogramObserver, choose_qparams, dequantize, quantize

SIZES = [1, 2, 31, 32, 33, 1023, 1024, 1025, 5000]


def squared_error(x, scale, lo=-127, hi=127):
    """Sum of squared errors in float64; codes of the float32 quotient, as the kernels have them."""
    quotient = (x.astype(np.float64) / np.float64(np.float32(scale))).astype(np.float32)
    codes = np.clip(np.rint(quotient), lo, hi).astype(np.float64)
    return float(np.square(x - codes * np.float64(np.float32(scale))).sum())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_symmetric_search_is_the_best_of_its_candidates(isa, n, bits):
    x = np.random.default_rng(n).standard_t(3, n).astype(np.float32)
    top = 2 ** (bits - 1) - 1
    largest = float(np.abs(x).max())
    best = min(squared_error(x, largest * (1 - k / 100) / top, -top, top) for k in range(71))
    chosen = squared_error(x, choose_qparams(x, bits, method="mse").scale[0], -top, top)
    assert chosen <= best * (1 + 1e-4) + 1e-6 * largest**2


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shift", [0, 2, -2])
def test_asymmetric_search_is_never_worse_than_the_whole_range(isa, n, shift):
    x = np.random.default_rng(n).standard_t(3, n).astype(np.float32) + np.float32(shift)

    def error(method):
        q = choose_qparams(x, 4, symmetric=False, method=method)
        return float(np.square(x - dequantize(quantize(x, q), q), dtype=np.float64).sum())

    assert error("mse") <= error("minmax") * (1 + 1e-5) + 1e-9


def test_kernels_choose_as_the_reference_does():
    rows = np.random.default_rng(0).standard_t(3, (40, 300)).astype(np.float32)
    _core.base.force_kernel("quantization", "quantization_error", "ref")
    wanted = choose_qparams(rows, 4, axis=0, method="mse").scale
    _core.base.force_kernel("quantization", "quantization_error", "")
    for level in tersor.supported_isas():
        tersor.force_isa(level)
        got = choose_qparams(rows, 4, axis=0, method="mse").scale
        errors = [
            [squared_error(row, scale, -7, 7) for row, scale in zip(rows, scales, strict=True)]
            for scales in (got, wanted)
        ]
        np.testing.assert_allclose(*errors, rtol=1e-4)  # equal candidates may tie
    tersor.force_isa("")


def test_a_histogram_finds_nearly_what_the_values_do():
    x = np.maximum(np.random.default_rng(0).normal(size=100_000), 0).astype(np.float32)

    def error(q):
        return float(np.square(x - dequantize(quantize(x, q), q), dtype=np.float64).sum())

    for bits in (4, 8):
        exact = error(choose_qparams(x, bits, symmetric=False, method="mse"))
        found = error(HistogramObserver("mse").observe(x).qparams(bits))
        assert found <= 1.02 * exact


def test_threads_change_nothing(threads):
    rows = np.random.default_rng(0).normal(size=(64, 500)).astype(np.float32)
    many = choose_qparams(rows, axis=0, method="mse").scale
    single = [choose_qparams(row, method="mse").scale[0] for row in rows]
    np.testing.assert_array_equal(many, single)
