"""Schedules against their formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.pruning import ConstantSchedule, IterativeSchedule, PolynomialSchedule


def test_constant():
    schedule = ConstantSchedule(0.6, begin=5, end=12, frequency=3)
    assert [schedule.sparsity_at(s) for s in (0, 4, 5, 100)] == [0, 0, 0.6, 0.6]
    assert [s for s in range(30) if schedule.updates_at(s)] == [5, 8, 11]
    assert ConstantSchedule(0.5).updates_at(10_000)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(1, 500), st.floats(0.5, 5))
def test_polynomial_is_zhu_and_gupta(a, b, begin, length, power):
    initial, final = min(a, b), max(a, b)
    schedule = PolynomialSchedule(final, begin + length, initial, begin, power=power)
    steps = np.arange(begin, begin + length + 1)
    wanted = final + (initial - final) * (1 - (steps - begin) / length) ** power
    got = [schedule.sparsity_at(int(s)) for s in steps]
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    assert (np.diff(got) >= -1e-12).all()
    assert schedule.sparsity_at(begin - 1) == 0
    assert schedule.sparsity_at(begin + 2 * length) == final


def test_polynomial_updates_at_its_end():
    schedule = PolynomialSchedule(0.8, 250, begin=20, frequency=100)
    assert [s for s in range(500) if schedule.updates_at(s)] == [20, 120, 220, 250]


@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_iterative_drops_the_same_share_of_the_rest(final, rounds, steps, begin):
    schedule = IterativeSchedule(final, rounds, steps, begin)
    kept = [1 - schedule.sparsity_at(begin + k * steps) for k in range(rounds)]
    for k in range(rounds):
        np.testing.assert_allclose(kept[k], (1 - final) ** ((k + 1) / rounds), atol=1e-12)
    assert schedule.sparsity_at(10**6) == final
    updates = [s for s in range(begin + rounds * steps + 5) if schedule.updates_at(s)]
    assert updates == [begin + k * steps for k in range(rounds)]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ConstantSchedule(1.5), r"ConstantSchedule: sparsity must be in \[0, 1\], got 1.5"),
        (lambda: ConstantSchedule(0.5, begin=-1), "begin must be at least 0, got -1"),
        (lambda: ConstantSchedule(0.5, begin=5, end=4), "end must be at least begin 5, got 4"),
        (lambda: ConstantSchedule(0.5, frequency=0), "frequency must be at least 1, got 0"),
        (lambda: PolynomialSchedule(-0.1, 10), r"final must be in \[0, 1\], got -0.1"),
        (lambda: PolynomialSchedule(0.5, 10, 0.6), r"initial must be in \[0, 0.5\], got 0.6"),
        (lambda: PolynomialSchedule(0.5, 10, begin=10), "end must be after begin 10, got 10"),
        (lambda: PolynomialSchedule(0.5, 10, power=0), "power must be greater than 0, got 0"),
        (lambda: IterativeSchedule(0.5, 0, 10), "rounds must be at least 1, got 0"),
        (lambda: IterativeSchedule(0.5, 3, 0), "steps must be at least 1, got 0"),
    ],
)
def test_errors_name_the_value(make, text):
    with pytest.raises(ValueError, match=text):
        make()
