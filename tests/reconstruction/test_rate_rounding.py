"""Entropy-constrained rounding: errors and bits recomputed in NumPy, optima of small problems."""

import itertools

import numpy as np
import pytest

from tersor.reconstruction import code_bits, round_by_rate, round_matrix


def problem(rows=6, columns=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, columns)) @ rng.normal(size=(columns, columns)) / columns
    return rng.laplace(size=(rows, columns)), x.T @ x / 400


def numpy_bits(codes, k):
    every, total, bits = np.full(k, 0.5), 0.5 * k, 0.0
    for row in codes:
        own = np.zeros(k)
        for j, c in enumerate(row):
            bits -= np.log2((own[c] + 12 * every[c] / total) / (j + 12))
            own[c] += 1
            every[c] += 1
            total += 1
    return bits


def error_of(w, q, h):
    return float(np.trace((w - q) @ h @ (w - q).T))


GRID = np.arange(-8, 9) * 0.5


@pytest.mark.parametrize("price", [0.0, 1e-3, 3e-2, 1.0])
@pytest.mark.parametrize("scaled", [False, True])
def test_error_and_bits_are_those_of_the_codes(price, scaled):
    w, h = problem()
    scale = np.linspace(0.5, 2, len(w)) if scaled else None
    done = round_by_rate(w, h, GRID, price=price, scale=scale)
    factor = np.ones(len(w)) if scale is None else scale
    np.testing.assert_array_equal(done.values(), GRID[done.codes] * factor[:, None])
    assert done.error == pytest.approx(error_of(w, done.values(), h), rel=1e-9)
    assert done.bits == pytest.approx(numpy_bits(done.codes, len(GRID)), rel=1e-9)


def test_a_higher_price_buys_fewer_bits():
    w, h = problem(16, 48)
    points = [round_by_rate(w, h, GRID, price=p) for p in (0, 1e-3, 1e-2, 1e-1)]
    bits, errors = [p.bits for p in points], [p.error for p in points]
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert bits[-1] < 0.15 * bits[0]


def test_it_beats_rounding_then_coding():
    """Less error than a coarser grid of the same bits (what 'quantize, then code' can do)."""
    w, h = problem(32, 64)
    priced = round_by_rate(w, h, np.arange(-32, 33) * 2.0, price=0.01)
    nearest = [
        (numpy_bits(codes, 33), error_of(w, step * (codes.astype(int) - 16.0), h))
        for step in np.linspace(0.25, 4, 60)
        for codes in [(np.clip(np.rint(w / step), -16, 16) + 16).astype(np.uint8)]
    ]
    assert priced.error < 0.6 * min(e for b, e in nearest if b <= priced.bits * 1.01)


def test_without_a_price_it_is_second_order_rounding():
    w, h = problem(8, 40, 1)
    levels = np.arange(-7, 8)
    uniform = round_matrix(w, h, 4, narrow=True, scale_dtype="float32")
    same = round_by_rate(w, h, levels, scale=uniform.scale.ravel())
    assert same.error < 1.3 * uniform.error  # which moved its scales while it descended
    assert same.error < 0.7 * uniform.nearest_error


def test_coordinate_descent_ends_where_no_single_code_improves():
    w, h = problem(3, 8, 2)
    done = round_by_rate(w, h, GRID, sweeps=100, damping=0)
    for r, j in itertools.product(range(3), range(8)):
        for c in range(len(GRID)):
            codes = done.codes.copy()
            codes[r, j] = c
            assert error_of(w, GRID[codes], h) >= done.error - 1e-9


def test_levels_are_fitted_to_the_codes():
    w, h = problem(16, 32, 3)
    levels = np.quantile(w, np.linspace(0.02, 0.98, 8))
    raw = round_by_rate(w, h, levels, sweeps=0)
    fitted = round_by_rate(w, h, levels, refits=5)
    assert fitted.error < raw.error
    assert (np.diff(fitted.levels) >= 0).all()
    # Least squares: the gradient with respect to each level is 0.
    last = round_by_rate(w, h, fitted.levels, refits=1, sweeps=0, passes=1)
    slope = (w - last.values()) @ h
    sums = np.bincount(last.codes.ravel(), slope.ravel(), minlength=8)
    assert np.abs(sums).max() < 1e-3 * np.abs(w @ h).sum()
    step = round_by_rate(w, h, GRID, refits=3, one_step=True)
    np.testing.assert_allclose(step.levels[0], GRID * (step.levels[0, -1] / GRID[-1]), rtol=1e-12)
    assert step.error <= round_by_rate(w, h, GRID).error


def test_a_table_for_each_part_of_the_rows():
    w, h = problem(5, 16, 4)
    levels = np.stack([GRID, GRID * 0.5])
    done = round_by_rate(w, h, levels)
    table = np.repeat(levels, 3, axis=0)[:5]
    np.testing.assert_array_equal(
        done.values(), np.take_along_axis(table, done.codes.astype(int), axis=1)
    )
    parts = [round_by_rate(w[:3], h, GRID), round_by_rate(w[3:], h, GRID * 0.5)]
    np.testing.assert_array_equal(done.codes, np.concatenate([p.codes for p in parts]))


def test_groups_of_rows_have_their_own_hessian_and_share_levels():
    (w, first), (_, second) = problem(6, 16, 8), problem(6, 16, 9)
    done = round_by_rate(w, [first, second], GRID)
    parts = [round_by_rate(w[:3], first, GRID), round_by_rate(w[3:], second, GRID)]
    np.testing.assert_array_equal(done.codes, np.concatenate([p.codes for p in parts]))
    assert done.error == pytest.approx(sum(p.error for p in parts), rel=1e-9)


def test_masked_weights_stay_zero_and_the_others_make_it_good():
    w, h = problem(8, 40, 5)
    mask = np.random.default_rng(0).random(w.shape) < 0.4
    mask[0], mask[1] = True, False
    done = round_by_rate(w, h, GRID, mask=mask, price=1e-3, refits=2)
    assert (done.values()[~mask] == 0).all()
    plain = np.where(mask, GRID[np.abs(w[..., None] - GRID).argmin(-1)], 0)
    assert done.error < 0.8 * error_of(w, plain, h)
    assert done.error == pytest.approx(error_of(w, done.values(), h), rel=1e-9)


def test_results_do_not_depend_on_threads_and_zeros_count_as_the_identity():
    w, h = problem(9, 20, 6)
    one, two = (round_by_rate(w, h, GRID, price=0.01, refits=2, threads=t) for t in (1, 2))
    np.testing.assert_array_equal(one.codes, two.codes)
    np.testing.assert_array_equal(one.levels, two.levels)
    nothing = round_by_rate(w, np.zeros((20, 20)), GRID)
    np.testing.assert_array_equal(GRID[nothing.codes], np.clip(np.rint(w * 2) / 2, -4, 4))


def test_single_weights_and_levels():
    done = round_by_rate([[3.0]], [[2.0]], [1.0])
    assert (done.codes.tolist(), done.error, done.bits) == ([[0]], 8.0, 0.0)
    # 256 levels: only the nearest and the cheapest are tried, which holds the best of all.
    w, h = problem(4, 12, 7)
    many = np.linspace(-6, 6, 256)
    assert round_by_rate(w, h, many).error < 1e-2 * error_of(w, 0 * w, h)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"levels": [1.0, 0.0]}, "levels must be finite and ascend, got 0 at 1"),
        ({"levels": [0.0, np.inf]}, "levels must be finite and ascend"),
        ({"levels": np.zeros(257)}, "levels must have 1 to 256 values"),
        ({"levels": np.zeros((3, 2))}, "tables for equal parts of 2 rows, got 3"),
        ({"price": -1.0}, "price must be finite and >= 0, got -1"),
        ({"price": np.nan}, "price must be finite and >= 0, got nan"),
        ({"scale": [1.0]}, "scale must have 2 elements, got 1"),
        ({"scale": [1.0, 0.0]}, "scale must be finite and > 0, got 0"),
        ({"mask": np.ones((2, 2), bool)}, "mask must have the shape of w"),
        ({"mask": np.ones((2, 3), bool), "levels": [1.0]}, "levels must hold 0 where a mask"),
        ({"w": [[1.0, np.nan, 0.0]] * 2}, "w must be finite, got nan"),
        ({"hessian": np.eye(2)}, r"hessian must have shape \(3, 3\)"),
        ({"hessian": [np.eye(3)] * 4}, "groups must divide 2 rows, got 4"),
        ({"hessian": -np.eye(3)}, "hessian must be positive semidefinite"),
        ({"passes": 0}, "passes must be >= 1"),
        ({"damping": 2.0}, r"damping must be in \[0, 1\], got 2"),
    ],
)
def test_mistakes(more, text):
    given = {"w": np.ones((2, 3)), "hessian": np.eye(3), "levels": [0.0, 1.0], **more}
    with pytest.raises(ValueError, match=text):
        round_by_rate(given.pop("w"), given.pop("hessian"), given.pop("levels"), **given)


def test_code_bits():
    codes = np.random.default_rng(0).integers(0, 5, (7, 31)).astype(np.uint8)
    assert code_bits(codes, 5) == pytest.approx(numpy_bits(codes, 5), rel=1e-12)
    assert code_bits(np.zeros((0, 3)), 4) == 0
    with pytest.raises(ValueError, match="codes must be below 2, got 3"):
        code_bits([[0, 3]], 2)
    with pytest.raises(ValueError, match=r"k must be in \[1, 256\], got 257"):
        code_bits([[0]], 257)
