"""Outputs that share memory with inputs: in place where documented, otherwise refused."""

import numpy as np
import pytest

from tersor import quantization as Q

N = 200_001  # more than one thread's share
CODES = Q.QParams(scale=[0.01], zero_point=[0])


def floats(n=N):
    return np.linspace(-1, 1, n, dtype=np.float32)


# What writes from an input to an output, and their dtypes.
OPERATIONS = {
    "quantize": (lambda x, y: Q.quantize(x, CODES, out=y), "f4", "i1"),
    "dequantize": (lambda x, y: Q.dequantize(x, CODES, out=y), "i1", "f4"),
    "quantize_affine": (lambda x, y: Q.quantize_affine(x, 0.01, out=y), "f4", "i1"),
    "dequantize_affine": (lambda x, y: Q.dequantize_affine(x, 0.01, out=y), "i1", "f4"),
    "cast to fp16": (lambda x, y: Q.cast(x, "fp16", out=y), "f4", "f2"),
    "cast from fp16": (lambda x, y: Q.cast(x, "fp32", out=y), "f2", "f4"),
    "cast fp32": (lambda x, y: Q.cast(x, "fp32", out=y), "f4", "f4"),
    "pack_bits": (lambda x, y: Q.pack_bits(x, 8, out=y), "u1", "u1"),
    "unpack_bits": (lambda x, y: Q.unpack_bits(x, 8, x.shape, out=y), "u1", "i1"),
    "quantize_packed": (lambda x, y: Q.quantize_packed(x, CODES, out=y), "f4", "u1"),
    "dequantize_packed": (
        lambda x, y: Q.dequantize_packed(x, CODES, x.shape, out=y), "u1", "f4",
    ),
    "requantize": (lambda x, y: Q.requantize(x, 0.01, out=y), "i4", "i1"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_refuse_to_write_into_their_input(name):
    run, source, target = OPERATIONS[name]
    inputs, outputs = N * np.dtype(source).itemsize, N * np.dtype(target).itemsize
    room = np.zeros(inputs + outputs + 8, np.uint8)
    x = room[:inputs].view(source)
    for offset in (0, (inputs - 1) // 4 * 4):  # the first bytes and the last ones
        with pytest.raises(ValueError, match=r"out must not overlap .* in memory"):
            run(x, room[offset : offset + outputs].view(target))
    side_by_side = -(-inputs // 4) * 4
    run(x, room[side_by_side : side_by_side + outputs].view(target))


def test_fake_quantize_in_place_but_not_beside():
    wanted, mask = Q.fake_quantize(floats(), CODES)
    x = floats()
    np.testing.assert_array_equal(Q.fake_quantize(x, CODES, out=x)[0], wanted)
    buffer = floats(N + 1)
    with pytest.raises(ValueError, match="out must not overlap x in memory unless it is x itself"):
        Q.fake_quantize(buffer[:-1], CODES, out=buffer[1:])
    x = floats(64)
    for out in (x, None):
        with pytest.raises(ValueError, match="mask must not overlap"):
            Q.fake_quantize(x, CODES, out=out, mask=x.view(np.uint8)[:8])
    dy = floats()
    np.testing.assert_array_equal(
        Q.fake_quantize_backward(dy, mask, out=dy), Q.fake_quantize_backward(floats(), mask)
    )
    with pytest.raises(ValueError, match="out must not overlap dy"):
        Q.fake_quantize_backward(buffer[:-1], mask, out=buffer[1:])


def test_learned_steps_in_place_but_not_beside():
    x, buffer = floats(), floats(N + 1)
    wanted = Q.lsq_forward(floats(), 0.01, bits=4)
    np.testing.assert_array_equal(Q.lsq_forward(x, 0.01, bits=4, out=x), wanted)
    with pytest.raises(ValueError, match="lsq_forward: out must not overlap x"):
        Q.lsq_forward(buffer[:-1], 0.01, bits=4, out=buffer[1:])
    with pytest.raises(ValueError, match="lsq_backward: out must not overlap dy"):
        Q.lsq_backward(buffer[:-1], floats(), 0.01, bits=4, out=buffer[1:])
    with pytest.raises(ValueError, match="lsq_backward: out must not overlap x"):
        Q.lsq_backward(floats(), buffer[:-1], 0.01, bits=4, out=buffer[1:])


def test_empty_arrays_share_nothing():
    x = np.empty(0, np.float32)
    assert Q.cast(x, "fp32", out=x).size == 0
    assert Q.fake_quantize(x, CODES, out=x)[0].size == 0


@pytest.mark.parametrize("shape", [(3, 5), (4,), (5, 1)])
def test_cast_to_float32_does_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"cast: out must be .* of shape \(5,\)"):
        Q.cast(np.arange(5, dtype=np.float32), "fp32", out=np.empty(shape, np.float32))
    with pytest.raises(TypeError, match="cast: out must be an ndarray of float32"):
        Q.cast(np.arange(5, dtype=np.float32), "fp32", out=np.empty(5))
    out = np.empty(5, np.float32)
    assert Q.cast(np.arange(5, dtype=np.float32), "fp32", out=out) is out
    assert out.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("codes", "more", "text"),
    [
        (np.array([200], np.uint8), {}, r"xq must be codes in \[-128, 127\], got 200"),
        (np.array([300]), {}, "got 300"),
        ([-129], {}, "got -129"),
        (np.array([-1], np.int8), {"signed": False}, r"in \[0, 255\], got -1"),
        (np.array([8], np.int8), {"bits": 4}, r"in \[-8, 7\], got 8"),
        (np.array([-8], np.int8), {"bits": 4, "narrow": True}, r"in \[-7, 7\], got -8"),
        (np.array([16], np.uint8), {"bits": 4, "signed": False}, r"in \[0, 15\], got 16"),
    ],
)
def test_dequantize_refuses_codes_that_there_are_not(codes, more, text):
    with pytest.raises(ValueError, match=text):
        Q.dequantize(codes, Q.QParams(scale=[1.0], zero_point=[0], **more))


def test_dequantize_takes_integers_of_any_width():
    q = Q.QParams(scale=[0.5], zero_point=[1], bits=4)
    for dtype in (np.int8, np.int16, np.int64, np.uint16):
        assert Q.dequantize(np.array([7, 1], dtype), q).tolist() == [3.0, 0.0]
    assert Q.dequantize([], q).size == 0
    for wrong in ([1.0], np.array([True])):
        with pytest.raises(TypeError, match="xq must be codes of an integer dtype"):
            Q.dequantize(wrong, q)
    with pytest.raises(ValueError, match=r"dequantize_affine: q must be codes in .* got 128"):
        Q.dequantize_affine(np.array([128]), 1.0)
