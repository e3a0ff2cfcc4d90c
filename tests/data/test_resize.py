"""Bilinear resizing against Pillow and against properties of any good filter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.data.resize import resize_images


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (16, 13), (31, 40), (32, 32), (64, 64), (1, 1)])
def test_matches_pillow_within_one_level(size):
    image = pytest.importorskip("PIL.Image")
    x = np.random.default_rng(3).integers(0, 256, (3, 31, 40, 3), dtype=np.uint8)
    bilinear = image.Resampling.BILINEAR
    expected = [np.asarray(image.fromarray(one).resize(size[::-1], bilinear)) for one in x]
    difference = np.abs(resize_images(x, size).astype(int) - np.array(expected, int))
    # Pillow rounds to bytes between its two passes, we once at the end.
    assert difference.max() <= 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_constants_stay_and_same_size_is_the_identity(height, width, rows, columns):
    flat = np.full((1, height, width, 2), 77, np.uint8)
    assert (resize_images(flat, (rows, columns)) == 77).all()
    x = np.random.default_rng(0).random((2, height, width, 1), np.float32)
    np.testing.assert_allclose(resize_images(x, (height, width)), x, rtol=1e-6)
    assert resize_images(x, (rows, columns)).dtype == np.float32
