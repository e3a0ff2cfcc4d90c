"""Quantization kernels against those of the CPU."""

import ml_dtypes
import numpy as np
import pytest

from tersor import quantization as cpu
from tersor.quantization import QParams

SHAPES = [
    (0,),
    (1,),
    (7,),
    (8,),
    (9,),
    (1000,),
    (3, 5),
    (4, 16),
    (5, 24, 3),
    (2, 3, 4, 8),
    (3, 700),
]


def values(shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3
    flat = x.reshape(-1)
    extremes = [np.nan, np.inf, -np.inf, -0.0, 1e-40, 3e38, 0.5, -2.5]
    for i, v in enumerate(extremes[: flat.size // 4]):
        flat[4 * i] = v
    return x


def parameters(shape, seed=0):
    """Every way to share scales that the shape allows."""
    rng = np.random.default_rng(seed)
    yield QParams(scale=[0.1], zero_point=[3])
    yield QParams(scale=[0.37], zero_point=[0], bits=4, narrow=True)
    yield QParams(scale=[0.05], zero_point=[130], signed=False)
    for axis in range(len(shape)):
        n = shape[axis]
        if n == 0:
            continue
        scale = rng.uniform(0.01, 1, n).astype(np.float32)
        yield QParams(scale=scale, zero_point=rng.integers(-9, 9, n), axis=axis)
        for group in {1, 2, 8, n}:
            groups = -(-n // group)
            count = int(np.prod(shape)) // n * groups
            scale = rng.uniform(0.01, 1, count).astype(np.float32)
            zero = rng.uniform(-3, 3, count).astype(np.float32)
            yield QParams(
                scale=scale,
                zero_point=np.zeros(count, np.int32),
                zero_point_float=zero,
                bits=4,
                axis=axis,
                group_size=group,
            )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_codes_are_those_of_the_cpu(cuda, shape, dtype):
    from tersor.cuda import quantization

    x = values(shape).astype(dtype)
    on_device = cuda.array(x)
    for q in parameters(shape):
        codes = quantization.quantize(on_device, q)
        expected = cpu.quantize(x.astype(np.float32), q)
        np.testing.assert_array_equal(codes.numpy(), expected)
        y = quantization.dequantize(codes, q, dtype=dtype).numpy()
        np.testing.assert_array_equal(y, cpu.dequantize(expected, q).astype(dtype))
        if q.bits == 4:
            packed = quantization.quantize_packed(on_device, q)
            np.testing.assert_array_equal(
                packed.numpy(), cpu.quantize_packed(x.astype(np.float32), q)
            )
            y = quantization.dequantize_packed(packed, q, shape).numpy()
            np.testing.assert_array_equal(y, cpu.dequantize_packed(packed.numpy(), q, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_fake_quantize_is_that_of_the_cpu(cuda, shape, dtype):
    from tersor.cuda import quantization

    x = values(shape, 1).astype(dtype)
    dy = np.random.default_rng(2).normal(size=shape).astype(dtype)
    for q in parameters(shape, 1):
        y, mask = quantization.fake_quantize(cuda.array(x), q)
        expected, bits = cpu.fake_quantize(x.astype(np.float32), q)
        np.testing.assert_array_equal(y.numpy(), expected.astype(dtype))
        np.testing.assert_array_equal(mask.numpy(), bits)
        dx = quantization.fake_quantize_backward(cuda.array(dy), mask).numpy()
        wanted = cpu.fake_quantize_backward(dy.astype(np.float32), bits).astype(dtype)
        np.testing.assert_array_equal(dx, wanted)


@pytest.mark.parametrize("format", ["fp16", "bf16", "fp8_e4m3", "fp8_e5m2"])
def test_casts_are_those_of_the_cpu(cuda, format):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    # All exponents and signs, halfway cases, then everything that a format holds and back.
    bits = rng.integers(0, 2**32, 20001, dtype=np.uint32)
    bits[:5000] &= 0xFFF00000
    bits[5000:9000] = (bits[5000:9000] & 0xFFFFF000) | 0x800
    x = np.concatenate([bits.view(np.float32), values((77,))])
    narrow = quantization.cast(cuda.array(x), format).numpy()
    expected = cpu.cast(x, format)
    unsigned = np.uint8 if narrow.itemsize == 1 else np.uint16
    np.testing.assert_array_equal(narrow.view(unsigned), expected.view(unsigned))
    every = np.arange(256**narrow.itemsize, dtype=unsigned).view(narrow.dtype)
    wide = quantization.cast(cuda.array(every), "fp32").numpy()
    np.testing.assert_array_equal(wide.view(np.uint32), cpu.cast(every, "fp32").view(np.uint32))


def test_unaligned_tensors_take_the_slow_way(cuda):
    torch = pytest.importorskip("torch")
    from tersor.cuda import quantization

    if not cuda.native.extension().emulated:
        pytest.skip("host tensors stand for device tensors in the emulation only")
    x = torch.arange(30.0)[1:]
    q = QParams(scale=[0.5], zero_point=[0])
    codes = quantization.quantize(x, q)
    assert isinstance(codes, torch.Tensor)
    np.testing.assert_array_equal(codes.numpy(), cpu.quantize(x.numpy(), q))


def test_errors_name_the_argument(cuda):
    from tersor.cuda import quantization

    x = cuda.array(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="quantize: q must have 3 scales, got 2"):
        quantization.quantize(x, QParams(scale=[1, 1], zero_point=[0, 0], axis=1))
    with pytest.raises(ValueError, match="quantize_packed: q must have 4 bits, got 8"):
        quantization.quantize_packed(x, QParams(scale=[1], zero_point=[0]))
    with pytest.raises(ValueError, match="fake_quantize_backward: mask must have 1 bytes, got 2"):
        quantization.fake_quantize_backward(x, cuda.array(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match="cast: format must be"):
        quantization.cast(x, "fp4")
