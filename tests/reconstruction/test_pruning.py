"""Second-order pruning (prune_matrix, the kernel of obs) against brute force in float64."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.reconstruction import prune_matrix, removal_curve, round_matrix


def problem(rows, columns, seed=0, samples=None):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(columns, columns)) + np.eye(columns)
    x = rng.normal(size=(samples or 4 * columns, columns)) @ mix
    return rng.normal(size=(rows, columns)) * 0.1, x.T @ x / len(x)


def loss(w, q, h):
    e = np.float64(w) - np.float64(q)
    return float(np.einsum("oi,ij,oj->", e, h, e))


def refit(row, kept, h):
    """Least squares on the kept columns."""
    out = np.zeros(len(row))
    s, p = np.flatnonzero(kept), np.flatnonzero(~kept)
    if len(s):
        out[s] = row[s] + np.linalg.solve(h[np.ix_(s, s)], h[np.ix_(s, p)] @ row[p])
    return out


def greedy(w, h, units, count):
    """Brute force over (rows, columns) masks: the cheapest unit of all goes, `count` times."""
    kept = np.ones(w.shape, bool)
    curve = [0.0]
    for _ in range(count):
        trials = []
        for unit in units:
            if kept[unit].any():
                trial = kept.copy()
                trial[unit] = False
                q = np.array([refit(r, k, h) for r, k in zip(w, trial, strict=True)])
                trials.append((loss(w, q, h), trial))
        cost, kept = min(trials, key=lambda t: t[0])
        curve.append(cost)
    return kept, curve


def blocks(shape, block):
    r, c = block
    return [
        (slice(i, i + r), slice(j, j + c))
        for i in range(0, shape[0], r)
        for j in range(0, shape[1], c)
    ]


@pytest.mark.parametrize("block", [(1, 1), (1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (9, 9)])
def test_greedy_removal_is_exact(isa, block):
    w, h = problem(3, 7, seed=sum(block))
    units = blocks(w.shape, block)
    curve = removal_curve(w, h, block=block, damping=0)
    assert len(curve) == len(units) + 1
    kept, wanted = greedy(w, h, units, len(units) // 2)
    np.testing.assert_allclose(curve[: len(wanted)], wanted, rtol=1e-6)
    np.testing.assert_allclose(curve[-1], loss(w, 0 * w, h), rtol=1e-6)
    sparsity = (len(units) // 2) / len(units)
    done = prune_matrix(w, h, sparsity, block=block, damping=0, swaps=0)
    np.testing.assert_array_equal(done.mask, kept)
    np.testing.assert_allclose(done.error, wanted[-1], rtol=1e-5, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    st.sampled_from([(1, 1), (1, 4), (4, 1), (16, 3)]),
    st.sampled_from([None, 2, 4, 8]),
    st.integers(0, 1000),
)
def test_masks_values_and_errors_hold_what_they_say(rows, columns, sparsity, block, bits, seed):
    w, h = problem(rows, columns, seed, samples=max(1, columns // 2))
    done = prune_matrix(w, h, sparsity, block=block, bits=bits)
    units = blocks(w.shape, block)
    for unit in units:
        assert done.mask[unit].all() or not done.mask[unit].any()
    gone = sum(not done.mask[unit].any() for unit in units)
    assert gone == round(sparsity * len(units))
    assert (done.values[~done.mask] == 0).all()
    np.testing.assert_allclose(done.error, loss(w, done.values, h), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(done.masked_error, loss(w, w * done.mask, h), rtol=1e-6, atol=1e-12)
    if bits is None:
        assert done.error <= done.masked_error * (1 + 1e-2) + 1e-9
        assert done.rounded is None
    else:
        assert (done.rounded.codes[~done.mask] == 0).all()
        np.testing.assert_array_equal(done.rounded.values(), done.values)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_a_given_mask_is_refitted(rows, columns, density, seed):
    w, h = problem(rows, columns, seed)
    mask = np.random.default_rng(seed).uniform(size=w.shape) < density
    done = prune_matrix(w, h, mask=mask, damping=0)
    np.testing.assert_array_equal(done.mask, mask)
    wanted = np.array([refit(r, k, h) for r, k in zip(w, mask, strict=True)])
    np.testing.assert_allclose(done.values, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (1, 2), (4, 8), (0, 3), (3, 3)])
def test_nm_patterns(pattern):
    n, m = pattern
    w, h = problem(4, 22)
    done = prune_matrix(w, h, n_m=pattern)
    for first in range(0, 22, m):
        part = done.mask[:, first : first + m]
        assert (part.sum(axis=1) == min(n, part.shape[1])).all()
    assert done.error <= prune_matrix(w, h, n_m=pattern, swaps=0).error * (1 + 1e-9)


def test_rows_can_have_the_same_number():
    w, h = problem(5, 16)
    w[0] *= 100
    one = prune_matrix(w, h, 0.5, per_row=True)
    assert (one.mask.sum(axis=1) == 8).all()
    free = prune_matrix(w, h, 0.5)
    assert free.mask[0].sum() > 8
    assert free.error < one.error


def test_swaps_find_masks_that_no_exchange_improves():
    found = 0
    for seed in range(8):
        w, h = problem(1, 9, seed)
        done = prune_matrix(w, h, 4 / 9, damping=0)
        bare = prune_matrix(w, h, 4 / 9, damping=0, swaps=0)
        assert done.error <= bare.error * (1 + 1e-6)
        found += done.error < bare.error * (1 - 1e-6)
        for i, j in itertools.product(range(9), range(9)):
            trial = done.mask.copy()
            trial[0, i], trial[0, j] = done.mask[0, j], done.mask[0, i]
            q = refit(w[0], trial[0], h)[None]
            assert loss(w, q, h) >= done.error * (1 - 1e-5)
    assert found  # greedy alone is not the best everywhere


def test_it_is_far_better_than_magnitudes_on_correlated_inputs():
    w, h = problem(16, 64)
    kept = np.abs(w) >= np.median(np.abs(w))
    magnitude = loss(w, w * kept, h)
    refitted = prune_matrix(w, h, mask=kept).error
    chosen = prune_matrix(w, h, 0.5).error
    assert chosen < 0.8 * refitted
    assert refitted < 0.6 * magnitude


def test_rounding_with_pruning_costs_little_more_than_either():
    w, h = problem(8, 48)
    pruned = prune_matrix(w, h, 0.5)
    both = prune_matrix(w, h, 0.5, bits=4, group_size=16)
    alone = round_matrix(w, h, 4, group_size=16)
    assert both.error < 1.5 * (pruned.error + alone.error)
    one = prune_matrix(w, h, 0.5, bits=8, one_scale=True, narrow=True, scale_dtype="float32")
    assert one.rounded.scale.shape == (1, 1)
    assert one.error < 1.05 * pruned.error


@pytest.mark.parametrize("h", [np.zeros((6, 6)), np.ones((6, 6)), np.diag([1.0, 0, 0, 0, 0, 0])])
@pytest.mark.parametrize("bits", [None, 4])
def test_singular_hessians(h, bits):
    w, _ = problem(2, 6)
    done = prune_matrix(w, h, 0.5, bits=bits)
    assert np.isfinite(done.values).all()
    assert done.mask.sum() == 6


def test_threads_give_the_same_bytes():
    w, h = problem(9, 40)
    for options in ({}, {"n_m": (2, 4)}, {"block": (2, 4)}, {"bits": 4}):
        one, two = (prune_matrix(w, h, 0.6, threads=n, **options) for n in (1, 2))
        assert one.values.tobytes() == two.values.tobytes()
        assert one.mask.tobytes() == two.mask.tobytes()
        assert one.error == two.error


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    w, h = problem(2, 3)
    for function in (prune_matrix, removal_curve):
        with pytest.raises(ValueError, match=f"{function.__name__}: w must be finite, got"):
            function(np.where(w == w[0, 0], bad, w), h)
        with pytest.raises(ValueError, match=f"{function.__name__}: hessian must be finite, got"):
            function(w, np.where(h == h[0, 0], bad, h))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sparsity": 1.5}, r"sparsity must be in \[0, 1\], got 1.5"),
        ({"n_m": (3, 2)}, r"n_m must be 0 <= n <= m with m >= 1, got \(3, 2\)"),
        ({"block": (0, 1)}, r"block must be at least \(1, 1\), got \(0, 1\)"),
        ({"damping": 2.0}, r"damping must be in \[0, 1\], got 2"),
        ({"swaps": -1}, "swaps must be >= 0, got -1"),
        ({"bits": 9}, r"bits must be in \[2, 8\], got 9"),
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"scale_dtype": "int8"}, "scale_dtype must be float16 or float32, got 'int8'"),
        ({"mask": np.ones((3, 2))}, r"mask must have shape \(2, 3\), got \(3, 2\)"),
        ({"hessian": np.eye(2)}, r"hessian must have shape \(3, 3\), got \(2, 2\)"),
        ({"hessian": -np.eye(3)}, "hessian must be positive semidefinite"),
        ({"w": np.zeros((0, 3))}, "w must not be empty"),
        ({"w": np.zeros(3)}, "w must have 2 dimensions"),
    ],
)
def test_errors_name_the_value(options, text):
    w, h = problem(2, 3)
    arguments = {"w": w, "hessian": h, **options}
    with pytest.raises(ValueError, match=f"prune_matrix: {text}"):
        prune_matrix(**arguments)
