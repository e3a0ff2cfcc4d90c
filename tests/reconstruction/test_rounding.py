"""Second-order rounding against a plain float64 GPTQ, and what its contract promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.quantization import QParams, dequantize
from tersor.reconstruction import round_matrix


def problem(rows, columns, seed=0, samples=None):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(columns, columns)) + np.eye(columns)
    x = rng.normal(size=(samples or 4 * columns, columns)) @ mix
    return rng.normal(size=(rows, columns)) * 0.1, x.T @ x / len(x)


def loss(w, q, h):
    e = np.float64(w) - np.float64(q)
    return float(np.einsum("oi,ij,oj->", e, h, e))


def gptq(w, h, scale, lo, hi, damping):
    """Frantar et al. 2022, algorithm 1, column by column, with given scales per row."""
    n = len(h)
    damped = h + damping * np.mean(np.diag(h)) * np.eye(n)
    u = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, codes = np.array(w, np.float64), np.zeros(w.shape)
    for j in range(n):
        codes[:, j] = np.clip(np.rint(left[:, j] / scale), lo, hi)
        e = (left[:, j] - scale * codes[:, j]) / u[j, j]
        left[:, j + 1 :] -= np.outer(e, u[j, j + 1 :])
    return codes


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("columns", [1, 2, 17, 60])
def test_without_sweeps_it_is_gptq(bits, columns):
    w, h = problem(5, columns)
    done = round_matrix(w, h, bits, reorder=False, sweeps=0, candidates=5)
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wanted = gptq(w, h, np.float64(done.scale[:, 0]), lo, hi, 0.01)
    assert (done.codes == wanted).mean() > 0.99  # ties and the last bits of the factorization
    assert done.codes.min() >= lo
    assert done.codes.max() <= hi


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 50),
    st.integers(2, 8),
    st.sampled_from([None, 1, 7, 16, 32, 100]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_codes_and_errors_hold_what_they_say(rows, columns, bits, group, narrow, reorder, seed):
    w, h = problem(rows, columns, seed, samples=max(1, columns // 2))
    done = round_matrix(w, h, bits, group_size=group, narrow=narrow, reorder=reorder)
    groups = 1 if group is None else -(-columns // group)
    assert done.codes.shape == w.shape
    assert done.scale.shape == (rows, groups)
    assert done.codes.min() >= -(2 ** (bits - 1)) + narrow
    assert done.codes.max() <= 2 ** (bits - 1) - 1
    assert (done.scale > 0).all()
    np.testing.assert_array_equal(done.scale, done.scale.astype(np.float16))
    np.testing.assert_allclose(done.error, loss(w, done.values(), h), rtol=1e-4, atol=1e-9)
    assert done.error <= done.nearest_error * 1.05 + 1e-9


@pytest.mark.parametrize("group", [None, 16])
def test_no_single_code_or_scale_improves_after_the_sweeps(group):
    w, h = problem(3, 32)
    done = round_matrix(w, h, 3, group_size=group, sweeps=1000, damping=0, scale_dtype="float32")
    least = loss(w, done.values(), h)
    scale = np.repeat(done.scale, group or 32, axis=1)
    for r, j in np.ndindex(done.codes.shape):
        for step in (-1, 1):
            if -4 <= done.codes[r, j] + step <= 3:
                q = done.values().copy()
                q[r, j] += step * scale[r, j]
                assert loss(w, q, h) >= least * (1 - 1e-6)


def test_it_is_far_better_than_nearest_on_correlated_inputs():
    w, h = problem(16, 64)
    for bits in (2, 3, 4):
        done = round_matrix(w, h, bits, group_size=32)
        assert done.error < 0.6 * done.nearest_error
        gptq_alone = round_matrix(w, h, bits, group_size=32, sweeps=0)
        assert done.error < gptq_alone.error


def test_a_diagonal_hessian_leaves_rounding_to_nearest():
    w, _ = problem(4, 20)
    done = round_matrix(w, np.diag(np.linspace(1, 2, 20)), 4, sweeps=0)
    nearest = np.clip(np.rint(w / np.float64(done.scale)), -8, 7)
    np.testing.assert_array_equal(done.codes, nearest)


@pytest.mark.parametrize("h", [np.zeros((6, 6)), np.ones((6, 6)), np.diag([1.0, 0, 0, 0, 0, 0])])
def test_singular_hessians(h):
    w, _ = problem(2, 6)
    done = round_matrix(w, h, 4)
    assert np.isfinite(done.values()).all()
    assert np.abs(done.values() - w).max() < 0.5


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-7, 6e4])
def test_constant_matrices(value):
    _, h = problem(1, 12)
    done = round_matrix(np.full((2, 12), value), h, 4)
    np.testing.assert_allclose(done.values(), value, rtol=0.1, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 50),
    st.integers(2, 8),
    st.sampled_from([None, 1, 7, 16, 100]),
    st.sampled_from(["float16", "float32"]),
    st.sampled_from([0.0, 0.3, -20.0]),
    st.integers(0, 1000),
)
def test_float_zero_points_hold_what_they_say(rows, columns, bits, group, dtype, shift, seed):
    w, h = problem(rows, columns, seed, samples=max(1, columns // 2))
    w = w + shift
    done = round_matrix(w, h, bits, group_size=group, float_zero_point=True, scale_dtype=dtype)
    groups = 1 if group is None else -(-columns // group)
    assert done.scale.shape == done.zero_point.shape == (rows, groups)
    assert done.codes.min() >= -(2 ** (bits - 1))
    assert done.codes.max() <= 2 ** (bits - 1) - 1
    for values in (done.scale, done.zero_point):
        np.testing.assert_array_equal(values, values.astype(dtype))
    q = QParams(
        scale=done.scale.ravel().tolist(),
        zero_point=[0] * done.scale.size,
        bits=bits,
        axis=0 if group is None else 1,
        group_size=group or 0,
        zero_point_float=done.zero_point.ravel().tolist(),
    )
    np.testing.assert_allclose(done.values(), dequantize(done.codes, q), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        done.error, loss(w, done.values(), h), rtol=1e-2, atol=1e-6 * (1 + abs(shift) ** 2)
    )
    assert done.error <= done.nearest_error * 1.05 + 1e-6


def test_float_zero_points_pay_where_weights_are_not_centred():
    w, h = problem(8, 64)
    w = w + 0.5
    plain = round_matrix(w, h, 4, group_size=32)
    shifted = round_matrix(w, h, 4, group_size=32, float_zero_point=True)
    assert shifted.error < 0.3 * plain.error
    with pytest.raises(ValueError, match="float_zero_point must be without narrow and one_scale"):
        round_matrix(w, h, float_zero_point=True, narrow=True)
    assert plain.zero_point is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("sweeps", [0, 10])
def test_scales_are_as_wide_as_they_must_be(dtype, sweeps):
    w, h = problem(4, 20)
    free = round_matrix(w, h, 4, scale_dtype=dtype, sweeps=sweeps)
    least = np.float64(free.scale[:, 0]) * [0, 0.5, 1.37, 3.01]
    done = round_matrix(w, h, 4, least_scale=least, scale_dtype=dtype, sweeps=sweeps)
    assert (done.scale[:, 0] >= least).all()
    np.testing.assert_array_equal(done.codes[:2], free.codes[:2])
    one = round_matrix(w, h, 4, least_scale=least, one_scale=True, scale_dtype=dtype)
    assert one.scale[0, 0] >= least.max()
    for wrong in ([1.0], [np.inf] * 4, [-1.0] * 4):
        with pytest.raises(ValueError, match="least_scale must"):
            round_matrix(w, h, 4, least_scale=wrong)


def test_one_scale_for_the_matrix():
    w, h = problem(4, 30)
    done = round_matrix(w, h, 8, narrow=True, one_scale=True, scale_dtype="float32")
    assert done.scale.shape == (1, 1)
    assert loss(w, done.values(), h) < loss(w, 0 * w, h) * 1e-3
    with pytest.raises(ValueError, match="group_size must be 0 where one scale holds"):
        round_matrix(w, h, 8, one_scale=True, group_size=4)


def test_threads_give_the_same_bytes():
    w, h = problem(9, 70)
    one, two = (round_matrix(w, h, 3, group_size=32, threads=n) for n in (1, 2))
    assert one.codes.tobytes() == two.codes.tobytes()
    assert one.scale.tobytes() == two.scale.tobytes()
    assert (one.error, one.nearest_error) == (two.error, two.nearest_error)


def test_arrays_of_any_layout():
    w, h = problem(4, 10)
    wanted = round_matrix(w, h)
    got = round_matrix(np.asfortranarray(w), h[::1, ::1].T)
    np.testing.assert_array_equal(got.codes, wanted.codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    w, h = problem(2, 3)
    with pytest.raises(ValueError, match="round_matrix: w must be finite, got"):
        round_matrix(np.where(w == w[0, 0], bad, w), h)
    with pytest.raises(ValueError, match="round_matrix: hessian must be finite, got"):
        round_matrix(w, np.where(h == h[0, 0], bad, h))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bits": 1}, r"bits must be in \[2, 8\], got 1"),
        ({"bits": 9}, r"bits must be in \[2, 8\], got 9"),
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"damping": -1.0}, r"damping must be in \[0, 1\], got -1"),
        ({"candidates": 0}, r"candidates must be in \[1, 1000\], got 0"),
        ({"sweeps": -1}, "sweeps must be >= 0, got -1"),
        ({"scale_dtype": "int8"}, "scale_dtype must be float16 or float32, got 'int8'"),
        ({"hessian": np.eye(2)}, r"hessian must have shape \(3, 3\), got \(2, 2\)"),
        ({"hessian": -np.eye(3)}, "hessian must be positive semidefinite"),
        ({"hessian": np.array([[1, 9, 0], [9, 1, 0], [0, 0, 1.0]])}, "hessian must be positive"),
        ({"w": np.zeros((0, 3))}, "w must not be empty"),
        ({"w": np.zeros(3)}, "w must have 2 dimensions"),
    ],
)
def test_errors_name_the_value(options, text):
    w, h = problem(2, 3)
    arguments = {"w": w, "hessian": h, **options}
    with pytest.raises(ValueError, match=f"round_matrix: {text}"):
        round_matrix(**arguments)
