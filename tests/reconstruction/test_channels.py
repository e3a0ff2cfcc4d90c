"""Least squares after channels are removed, against NumPy's."""

import numpy as np
import pytest

from tersor.reconstruction import Moments, refit_channels


@pytest.mark.parametrize("bias", [True, False])
def test_refit_is_least_squares_on_what_stays(bias):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(600, 8)) @ rng.normal(size=(8, 8)) + 1).astype(np.float32)
    w = rng.normal(size=(5, 8)).astype(np.float32)
    y = x @ w.T + rng.normal(size=5).astype(np.float32) * bias
    kept = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
    moments = Moments(8, outputs=5)
    moments.add(x, y)
    weight, shift = refit_channels(moments, w, kept, bias=bias, ridge=1e-9)
    left = x[:, kept].astype(np.float64)
    if bias:
        left = np.column_stack([left, np.ones(len(left))])
    wanted = np.linalg.lstsq(left, y.astype(np.float64), rcond=None)[0].T
    got = np.column_stack([weight, shift]) if bias else weight
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)
    assert bias or not shift.any()


def test_refit_of_a_convolution_lowers_its_error():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(16, 3, 8, 8))
    x = np.concatenate([base, base[:, :2] + 0.3 * rng.normal(size=(16, 2, 8, 8))], axis=1)
    x = x.astype(np.float32)
    w = rng.normal(size=(4, 5, 3, 3)).astype(np.float32)
    plain = Moments(45)
    plain.add_images(x, kernel=(3, 3), pads=(1, 1))
    patches = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )
    y = np.einsum("nchwij,ocij->nohw", patches, w).astype(np.float32)
    moments = Moments(45, outputs=4)
    moments.add_images(x, y, kernel=(3, 3), pads=(1, 1))
    kept = np.array([1, 1, 1, 0, 0], bool)
    weight, shift = refit_channels(moments, w, kept)
    assert weight.shape == (4, 3, 3, 3)
    fitted = np.einsum("nchwij,ocij->nohw", patches[:, kept], weight) + shift[:, None, None]
    cut = np.einsum("nchwij,ocij->nohw", patches[:, kept], w[:, kept])
    assert np.square(y - fitted).mean() < 0.2 * np.square(y - cut).mean()


def test_errors_name_the_value():
    moments = Moments(3, outputs=1)
    moments.add(np.ones((4, 3)), np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"refit_channels: kept must have shape \(3,\), got \(2,"):
        refit_channels(moments, np.ones((1, 3)), [True, False])
