"""Packed codes against NumPy's bits."""

import numpy as np
import pytest

from tersor.quantization import pack_bits, packed_size, unpack_bits

SIZES = [0, 1, 2, 7, 8, 9, 31, 32, 33, 255, 256, 1001]


def numpy_packed(codes, bits):
    spread = np.unpackbits(codes.view(np.uint8).reshape(-1, 1), axis=1, bitorder="little")
    return np.packbits(spread[:, :bits].ravel(), bitorder="little")


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("signed", [True, False])
def test_pack_and_unpack(isa, bits, n, signed):
    rng = np.random.default_rng(n)
    lo, hi = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    codes = rng.integers(lo, hi, n + 1).astype(np.int8 if signed else np.uint8)[1:]
    packed = pack_bits(codes, bits)
    assert len(packed) == packed_size(n, bits)
    np.testing.assert_array_equal(packed, numpy_packed(codes.copy(), bits))
    back = unpack_bits(packed, bits, n, signed=signed)
    assert back.dtype == codes.dtype
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_what_lies_above_is_cut(isa, bits):
    codes = np.arange(256, dtype=np.uint8)
    wanted = codes & ((1 << bits) - 1)
    np.testing.assert_array_equal(
        unpack_bits(pack_bits(codes, bits), bits, 256, signed=False), wanted
    )
    signed = unpack_bits(pack_bits(codes, bits), bits, (16, 16))
    np.testing.assert_array_equal(signed.view(np.uint8) & ((1 << bits) - 1), wanted.reshape(16, 16))


def test_threads_change_nothing(threads):
    codes = np.random.default_rng(0).integers(-4, 4, 1_000_003).astype(np.int8)
    packed = pack_bits(codes, 3)
    np.testing.assert_array_equal(packed, numpy_packed(codes, 3))
    np.testing.assert_array_equal(unpack_bits(packed, 3, codes.size), codes)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r"bits must be in \[1, 8\], got 9"):
        pack_bits(np.zeros(3, np.int8), 9)
    with pytest.raises(ValueError, match="packed must have 2 bytes"):
        unpack_bits(np.zeros(3, np.uint8), 4, 3)
    with pytest.raises(TypeError, match="codes must be integers, got float64"):
        pack_bits([1.5], 4)
    with pytest.raises(ValueError, match=r"out must have shape \(2,\)"):
        pack_bits(np.zeros(3, np.int8), 4, out=np.zeros(3, np.uint8))
