"""Observers and learned steps against those of the CPU."""

import ml_dtypes
import numpy as np
import pytest

from tersor import quantization as cpu


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_observers_see_what_those_of_the_cpu_see(cuda, dtype):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    pairs = [
        (quantization.HistogramObserver(), cpu.HistogramObserver()),
        (quantization.MinMaxObserver(), cpu.MinMaxObserver()),
        (quantization.MinMaxObserver(1), cpu.MinMaxObserver(1)),
        (quantization.MovingAverageObserver(0.1), cpu.MovingAverageObserver(0.1)),
    ]
    for i, size in enumerate([(3, 5, 7), (200, 5, 31), (0, 5, 2), (1, 5, 1)]):
        x = (rng.normal(size=size) * 10.0**i).astype(dtype)
        x.reshape(-1)[:1] = -0.0
        for mine, other in pairs:
            mine.observe(cuda.array(x))
            other.observe(x.astype(np.float32))
    for mine, other in pairs:
        assert mine._native == other._native
        assert list(mine.qparams().scale) == list(other.qparams().scale)
    with pytest.raises(ValueError, match="HistogramObserver: x must be finite"):
        pairs[0][0].observe(cuda.array(np.float32([1, np.inf])))
    with pytest.raises(ValueError, match="MinMaxObserver: x must be finite"):
        pairs[1][0].observe(cuda.array(np.float32([1, np.nan])))


@pytest.mark.parametrize(
    ("shape", "axis", "group"),
    [
        ((5000,), None, None),
        ((33, 40), 0, None),
        ((9000, 3), 1, None),
        ((3, 4, 5), 1, None),
        ((200, 40), 1, None),
        ((6, 100), 1, 32),
        ((2, 10, 7), 1, 4),
        ((0, 4), 1, None),
    ],
    ids=str,
)
def test_lsq_is_that_of_the_cpu(cuda, shape, axis, group):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    if x.size:
        x.reshape(-1)[::17] = np.nan
    count = 1
    if axis is not None:
        count = shape[axis]
        if group:
            count = int(np.prod(shape)) // shape[axis] * -(-shape[axis] // group)
    scale = rng.uniform(0.05, 0.3, count).astype(np.float32)
    zero = rng.uniform(-3, 3, count).astype(np.float32)
    for float_zero in (False, True):
        options = {"bits": 4, "axis": axis, "group_size": group, "float_zero_point": float_zero}
        y = quantization.lsq_forward(*(cuda.array(a) for a in (x, scale, zero)), **options)
        np.testing.assert_array_equal(y.numpy(), cpu.lsq_forward(x, scale, zero, **options))
        mine = quantization.lsq_backward(*(cuda.array(a) for a in (dy, x, scale, zero)), **options)
        dx, dscale, dzero = cpu.lsq_backward(dy, x, scale, zero, **options)
        np.testing.assert_array_equal(mine[0].numpy(), dx)
        each = max(x.size / count, 1)
        np.testing.assert_allclose(mine[1].numpy(), dscale, rtol=1e-5, atol=1e-5 * each**0.5)
        np.testing.assert_allclose(mine[2].numpy(), dzero, rtol=1e-5, atol=1e-5 * each**0.5)
