"""Quantities with units: exact factors, round trips, refusals."""

import contextlib
import functools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.targets import units


def quantity(unit):
    return functools.partial(units.parse_quantity, unit=unit, what="value")


QUANTITIES = [
    (units.parse_bytes, "128 KB", 131072),
    (units.parse_bytes, "128KiB", 131072),
    (units.parse_bytes, "128 kB", 128000),
    (units.parse_bytes, "1MB", 1 << 20),
    (units.parse_bytes, "1.5 MiB", 3 << 19),
    (units.parse_bytes, "2 GB", 2 << 30),
    (units.parse_bytes, "17", 17),
    (units.parse_bytes, "17 bytes", 17),
    (units.parse_bytes, "1_000 B", 1000),
    (units.parse_bytes, 4096, 4096),
    (units.parse_bytes, 0, 0),
    (quantity("s"), "2.5 ms", 2.5e-3),
    (quantity("s"), "250us", 250e-6),
    (quantity("s"), "250 µs", 250e-6),
    (quantity("s"), "0", 0.0),
    (quantity("s"), "1e-3 s", 1e-3),
    (quantity("J"), "8 mJ", 8e-3),
    (quantity("J"), ".5 uJ", 0.5e-6),
    (quantity("Hz"), "2.4 GHz", 2.4e9),
    (quantity("W"), "160.6 mW", 0.1606),
    (quantity("B/s"), "2 KB/s", 2048.0),
    (units.parse_share, "1 %", 0.01),
    (units.parse_share, "0.01", 0.01),
    (units.parse_share, "1pp", 0.01),
    (units.parse_share, 1, 1.0),
]


@pytest.mark.parametrize(("parse", "text", "value"), QUANTITIES)
def test_parse_gives_the_base_unit(parse, text, value):
    assert parse(text) == pytest.approx(value, rel=1e-15)


REFUSED = [
    (units.parse_bytes, "128 kb", "unknown unit 'kb'"),
    (units.parse_bytes, "1 Mb", "unknown unit 'Mb'"),
    (units.parse_bytes, "KB", "must be a number with a unit"),
    (units.parse_bytes, "", "must be a number with a unit"),
    (units.parse_bytes, "12 KB 3", "must be a number with a unit"),
    (units.parse_bytes, "nan", "must be a number with a unit"),
    (units.parse_bytes, "-1 KB", "not negative"),
    (units.parse_bytes, "1e999", "finite"),
    (units.parse_bytes, math.inf, "finite"),
    (quantity("s"), "5", "no unit"),
    (quantity("s"), "5 msec", "did you mean 'ms'"),
    (quantity("J"), "5 MJ", "unknown unit"),
    (units.parse_share, "101 %", r"\[0, 1\]"),
    (units.parse_share, 2, r"\[0, 1\]"),
]


@pytest.mark.parametrize(("parse", "text", "message"), REFUSED)
def test_parse_refuses_and_says_why(parse, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize("value", [None, True, b"1 KB", [1]])
def test_parse_refuses_wrong_types(value):
    with pytest.raises(TypeError, match="size must be a number or text"):
        units.parse_bytes(value)


@given(st.integers(0, 2**50))
def test_bytes_of_whole_numbers_are_exact(count):
    assert (
        units.parse_bytes(count)
        == units.parse_bytes(f"{count} B")
        == units.parse_bytes(str(count))
        == count
    )


@given(st.integers(0, 10**6), st.sampled_from([("KB", 1 << 10), ("kB", 1000), ("MiB", 1 << 20)]))
def test_bytes_scale_by_their_unit(count, unit):
    name, factor = unit
    assert (
        units.parse_bytes(f"{count} {name}")
        == units.parse_bytes(f" {count}{name} ")
        == count * factor
    )


@given(st.floats(1, 1e12))
def test_format_bytes_reads_back_within_three_digits(value):
    assert units.parse_bytes(units.format_bytes(value)) == pytest.approx(value, rel=0.005, abs=0.5)


@given(st.floats(1e-8, 900))
def test_format_seconds_reads_back_within_three_digits(value):
    assert quantity("s")(units.format_seconds(value)) == pytest.approx(value, rel=0.005)


@given(st.text(max_size=20))
def test_parse_never_fails_otherwise(text):
    with contextlib.suppress(ValueError):
        assert units.parse_bytes(text) >= 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999.6, "1000 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (284000, "277 KB"),
        (3 << 20, "3.00 MB"),
    ],
)
def test_format_bytes(value, text):
    assert units.format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ns"),
        (26e-5, "260 us"),
        (0.9996, "1.00 s"),
        (0.01234, "12.3 ms"),
        (-0.002, "-2.00 ms"),
    ],
)
def test_format_seconds(value, text):
    assert units.format_seconds(value) == text


def test_format_share():
    assert units.format_share(0.87694) == "87.69 %"
