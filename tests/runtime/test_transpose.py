"""Changes of layout on every instruction set: bytes and words, on the way in and out."""

import itertools

import numpy as np
import pytest

import tersor
from tests.networks import Builder, Int8Builder

SHAPES = [(1, 5, 5), (3, 1, 1), (3, 7, 9), (4, 8, 8), (5, 3, 3), (16, 4, 4), (17, 5, 3),
          (33, 1, 17),
          (64, 16, 16), (3, 40, 40), (20, 33, 34)]  # fmt: skip


def one_to_one(b, x, channels):
    """A 1x1 convolution that changes nothing."""
    w = b.constant("w", np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1))
    return b.node("conv", x, w, name="copy", strides=[1, 1], pads=[0] * 4, dilations=[1, 1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_words(isa, shape, batch):
    b = Builder()
    graph = b.done(one_to_one(b, b.input(shape), shape[0]))
    x = b.floats(batch, *shape)
    np.testing.assert_array_equal(tersor.Session(graph)(x), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_bytes_with_quantization(isa, shape, batch):
    b = Int8Builder()
    q = b.quantize(b.input(shape), 0.02, 3)
    graph = b.done(b.node("dequantize", b.conv8(q, 2, 0.05, 0, "conv", 1)))
    x = b.floats(batch, *shape)
    codes = tersor.Session(graph, threads=2).taps(x, edges=["quantize", "conv"])["quantize"]
    np.testing.assert_array_equal(codes, np.clip(np.rint(x / np.float32(0.02)) + 3, -128, 127))


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32", "int64"])
@pytest.mark.parametrize("perm", list(itertools.permutations((1, 2, 3))))
def test_transpose_operator(isa, dtype, perm):
    b = Builder()
    x = b.input((5, 18, 7), dtype=dtype)
    graph = b.done(b.node("transpose", x, perm=[0, *perm]))
    value = b.rng.integers(-100, 100, size=(2, 5, 18, 7)).astype(dtype)
    np.testing.assert_array_equal(tersor.Session(graph)(value), value.transpose(0, *perm))


@pytest.mark.parametrize(
    ("shape", "perm"),
    [((1, 6, 5), (0, 2, 1, 3)), ((6, 1, 5), (0, 3, 1, 2)), ((2, 3, 4, 5), (0, 3, 4, 1, 2))],
)
def test_axes_of_length_one_and_more_axes(isa, shape, perm):
    b = Builder()
    graph = b.done(b.node("transpose", b.input(shape), perm=list(perm)))
    x = b.floats(2, *shape)
    np.testing.assert_array_equal(tersor.Session(graph)(x), x.transpose(perm))
