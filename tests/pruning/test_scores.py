"""Scores against their formulas in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.pruning import (
    global_masks,
    lamp_scores,
    magnitude_mask,
    mask_from_scores,
    movement_scores,
    random_scores,
    taylor_scores,
    weight_activation_scores,
)


def lamp(w):
    """Lee et al. 2021, equation 4; of equal magnitudes the later one goes first."""
    flat = np.float64(w).ravel() ** 2
    order = np.argsort(-flat, kind="stable")
    out = np.zeros(flat.size)
    out[order] = flat[order] / np.maximum(np.cumsum(flat[order]), 1e-300)
    return out.reshape(np.shape(w))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 99), st.booleans())
def test_lamp_is_its_formula(n, seed, ties):
    rng = np.random.default_rng(seed)
    w = (rng.integers(-3, 4, n) if ties else rng.normal(size=n)).astype(np.float32)
    np.testing.assert_allclose(lamp_scores(w), lamp(w), rtol=1e-6)


def test_lamp_keeps_the_order_inside_a_layer_and_a_weight_of_each():
    rng = np.random.default_rng(0)
    w = [rng.normal(size=n).astype(np.float32) * s for n, s in [(300, 1), (50, 1e-3), (900, 10)]]
    masks = global_masks([lamp_scores(x) for x in w], 0.9)
    for x, mask in zip(w, masks, strict=True):
        assert mask.any()
        np.testing.assert_array_equal(mask, magnitude_mask(x, 1 - mask.mean()))


def test_lamp_of_extremes():
    w = np.array([1e-30, 3e38, -1e-45, 0, -3e38], np.float32)
    np.testing.assert_allclose(lamp_scores(w), lamp(w), rtol=1e-6, atol=1e-45)
    assert lamp_scores(np.zeros(3)).tolist() == [0, 0, 0]
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="lamp_scores: w must be finite, got"):
            lamp_scores([1.0, bad])


def test_products():
    rng = np.random.default_rng(1)
    w, g = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(taylor_scores(w, g), np.abs(w * g))
    np.testing.assert_allclose(movement_scores(w, g), -w * g)
    for function in (taylor_scores, movement_scores):
        with pytest.raises(ValueError, match=r"gradient must have shape \(4, 3, 2\), got \(4, 3\)"):
            function(w, g[..., 0])
    assert mask_from_scores(movement_scores([1, 1], [-1, 1]), 0.5).tolist() == [True, False]


def test_weight_times_activation():
    rng = np.random.default_rng(2)
    w = rng.normal(size=(4, 3, 2, 2)).astype(np.float32)
    norm = rng.uniform(size=(3, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(weight_activation_scores(w, norm), np.abs(w) * norm)
    each = weight_activation_scores(w, norm[:, 0, 0])
    np.testing.assert_allclose(each, np.abs(w) * norm[:, 0, 0][:, None, None])
    with pytest.raises(ValueError, match=r"input_norm must have shape \(3,\) or \(3, 2, 2\), got"):
        weight_activation_scores(w, norm[0])
    with pytest.raises(ValueError, match="input_norm must be >= 0, got -1"):
        weight_activation_scores(w, [1, -1, 1])


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 50_001])
def test_random_scores_depend_on_the_seed_alone(n):
    tersor.set_threads(1)
    one = random_scores((n,), seed=7)
    tersor.set_threads(2)
    two = random_scores((n,), seed=7)
    tersor.set_threads(0)
    np.testing.assert_array_equal(one, two)
    assert ((one >= 0) & (one < 1)).all()
    if n > 1000:
        assert abs(one.mean() - 0.5) < 0.01
        assert (one != random_scores((n,), seed=8)).mean() > 0.99
        np.testing.assert_array_equal(one[:100], random_scores((10, 10), seed=7).ravel())


def test_random_scores_refuse_what_they_cannot_use():
    with pytest.raises(ValueError, match="seed must be in"):
        random_scores((3,), seed=-1)
    with pytest.raises(ValueError, match=r"shape must have sizes >= 0, got \(-3,\)"):
        random_scores((-3,))
