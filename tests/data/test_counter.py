"""Random numbers that are a function of their key."""

import numpy as np
import pytest

from tersor.data.counter import keyed_bits, keyed_integers, keyed_permutation, keyed_uniform

MASK = (1 << 64) - 1


def by_hand(*key):
    """SplitMix64's finalizer in Python's integers."""
    state = 0
    for part in key:
        z = ((state ^ (part & MASK)) + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        state = z ^ (z >> 31)
    return state


def test_keyed_bits_equals_the_definition():
    # The first output of SplitMix64 from state 0, as published with it.
    assert int(keyed_bits(0)[0]) == 0xE220A8397B1DCDAF
    bits = keyed_bits(7, -1, [0, 1, 1 << 40])
    assert bits.tolist() == [by_hand(7, -1, part) for part in (0, 1, 1 << 40)]


def test_keyed_bits_depends_on_the_order_of_the_key():
    assert len({int(keyed_bits(*key)[0]) for key in [(1, 2), (2, 1), (1,), (1, 2, 0)]}) == 4


def test_keyed_uniform_is_uniform_and_independent_of_its_neighbours():
    values = keyed_uniform(3, 4, np.arange(20000))
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.bincount((values * 20).astype(int), minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-square, 19 degrees: p = 0.0007
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    assert keyed_uniform(3, 4, [17])[0] == values[17]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_keyed_permutation_is_one(count):
    order = keyed_permutation(count, 5, 6)
    assert sorted(order.tolist()) == list(range(count))
    if count > 2:
        assert (order != keyed_permutation(count, 5, 7)).any()


def test_keyed_integers_reach_both_ends():
    values = keyed_integers(9, 0, np.arange(1000))
    assert set(values.tolist()) == set(range(9))
