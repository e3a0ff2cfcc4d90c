"""Coded symbols: round trips, sizes against the entropy, malformed input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor import ArtifactError, coding

METHODS = ["packed", "huffman", "rans", "rice", "range"]
PROFILES = ["fast", "small"]
DTYPES = ["uint8", "int8", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def assert_round_trip(symbols, method):
    buffer = coding.encode(symbols, method)
    back = coding.decode(buffer)
    assert back.dtype == symbols.dtype
    assert back.shape == symbols.shape
    np.testing.assert_array_equal(back, symbols)
    return buffer


def drawn(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "one":
        return np.full(n, 200, np.uint8)
    if kind == "uniform":
        return rng.integers(0, 256, n).astype(np.uint8)
    if kind == "nibbles":
        return np.clip(np.rint(rng.normal(8, 3, n)), 0, 15).astype(np.uint8)
    if kind == "skewed":
        return (rng.random(n) < 0.001).astype(np.uint8) * 255
    if kind == "sparse":
        return np.where(rng.random(n) < 0.1, rng.integers(-7, 8, n), 0).astype(np.int8)
    return np.clip(rng.normal(0, 35, n), -127, 127).astype(np.int8)


KINDS = ["one", "uniform", "nibbles", "skewed", "sparse", "gaussian"]


@pytest.mark.parametrize("method", METHODS + PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(isa, method, kind):
    for n in (0, 1, 2, 31, 33, 2047, 2048, 9000):
        assert_round_trip(drawn(kind, n), method)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_round_trip_of_any_array(data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = tuple(data.draw(st.lists(st.integers(0, 6), max_size=4)))
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    low = data.draw(st.integers(*limits))
    high = data.draw(st.sampled_from([low, limits[1]]) | st.integers(low, limits[1]))
    values = st.integers(low, high)
    n = int(np.prod(shape))
    symbols = np.array(data.draw(st.lists(values, min_size=n, max_size=n)), dtype).reshape(shape)
    assert_round_trip(symbols, data.draw(st.sampled_from(METHODS + PROFILES)))


@pytest.mark.parametrize("method", METHODS)
def test_layouts_and_threads(threads, method):
    symbols = drawn("nibbles", 1_200_000).reshape(100, -1, 3)
    buffer = assert_round_trip(symbols, method)
    assert coding.encode(symbols[::2, ::-1], method) == coding.encode(
        np.ascontiguousarray(symbols[::2, ::-1]), method
    )
    assert coding.encode(symbols, method) == buffer
    assert_round_trip(drawn("sparse", 1_100_000), method)  # one row, longer than a block


@pytest.mark.parametrize("kind", ["nibbles", "skewed", "sparse", "gaussian", "uniform"])
def test_rans_needs_hardly_more_than_the_entropy(kind):
    symbols = drawn(kind, 200_000)
    floor = symbols.size * coding.entropy(symbols) / 8
    assert len(coding.encode(symbols, "rans")) <= 1.01 * floor + 60  # the table of 256 symbols
    assert len(coding.encode(symbols, "fast")) <= len(coding.encode(symbols, "rans"))


def test_huffman_lengths_are_optimal():
    # Fibonacci counts need the longest codes; these have at most 11 bits.
    counts = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]
    symbols = np.repeat(np.arange(12, dtype=np.uint8), counts)
    bits = np.dot(counts, [11, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    assert len(coding.encode(symbols, "huffman")) - (bits + 7) // 8 <= 35
    for n in (2, 3, 16, 255, 256):  # uniform: lengths of one or two values
        symbols = np.tile(np.arange(n, dtype=np.uint8), 300)
        floor = np.log2(n) * symbols.size / 8
        assert len(coding.encode(symbols, "huffman")) <= 1.09 * floor + 25 + n / 2


def test_equal_symbols_cost_nothing():
    assert len(coding.encode(np.zeros(100_000, np.uint8), "small")) < 30


@pytest.mark.parametrize("n", [0, 1, 5, 4096])
def test_entropy(n):
    symbols = drawn("nibbles", n)
    counts = np.unique(symbols, return_counts=True)[1]
    share = counts / max(counts.sum(), 1)
    wanted = -(share * np.log2(share)).sum()
    np.testing.assert_allclose(coding.entropy(symbols), wanted, atol=1e-12)
    np.testing.assert_allclose(coding.entropy(symbols.astype(np.int64) * 1000), wanted, atol=1e-12)


@pytest.mark.parametrize("method", METHODS + PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_and_flip_is_refused(method, kind):
    buffer = coding.encode(drawn(kind, 200).reshape(4, -1), method)
    for n in range(len(buffer)):
        with pytest.raises(ArtifactError):
            coding.decode(buffer[:n])
    rng = np.random.default_rng(1)
    for _ in range(100):
        damaged = bytearray(buffer)
        bit = int(rng.integers(8 * len(buffer)))
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactError):
            coding.decode(bytes(damaged))
    with pytest.raises(ArtifactError):
        coding.decode(buffer + b"\0")


@pytest.mark.parametrize("method", METHODS + PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_decoders_survive_what_no_checksum_caught(isa, method, kind):
    from tersor import _core

    symbols = drawn(kind, 2100).view(np.uint8)
    row, taps = 300, 3
    stream = _core.coding.encode(symbols, method, row, taps)
    rng = np.random.default_rng(2)
    survived = 0
    for i in range(150):
        damaged = bytearray(stream)
        if i % 3 == 0:
            damaged = damaged[: int(rng.integers(len(damaged)))]
        elif i % 3 == 1:
            damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        else:
            damaged[1:] = rng.bytes(len(damaged) - 1)
        try:
            out = _core.coding.decode(bytes(damaged), symbols.size, row, taps)
            assert out.size == symbols.size
            survived += 1
        except ArtifactError:
            pass
    assert survived < 150


def test_random_bytes_and_huge_counts_are_refused():
    rng = np.random.default_rng(3)
    for n in (0, 1, 4, 5, 20, 200):
        with pytest.raises(ArtifactError):
            coding.decode(rng.bytes(n))
    from tersor import _core

    for method in range(6):
        with pytest.raises(ArtifactError):
            _core.coding.decode(bytes([method, 0, 0]), 1 << 60, 1, 1)


def test_errors_name_the_value():
    with pytest.raises(TypeError, match="symbols must be integers, got float64"):
        coding.encode(np.zeros(3))
    with pytest.raises(TypeError, match="symbols must be integers, got float32"):
        coding.entropy(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"method must be .*, got zip"):
        coding.encode([1, 2], "zip")
    assert coding.method_of(coding.encode([[1, 2]], "rice")) == "rice"


@pytest.mark.parametrize("spread", [1.5, 8.0, 30.0])
@pytest.mark.parametrize("kept", [0.1, 0.25, 1.0])
def test_small_tables_of_frequencies(isa, spread, kept):
    """Tables take little of small tensors too: here 3,000 symbols, of which many never occur."""
    rng = np.random.default_rng(int(10 * spread + 100 * kept))
    w = np.rint(np.clip(rng.laplace(size=(20, 150)) * spread, -127, 127))
    w *= rng.random(w.shape) < kept
    w = w.astype(np.int8)
    coded = coding.encode(w, "rans")
    np.testing.assert_array_equal(coding.decode(coded), w)
    header = 20  # of encode: checksum, dtype, shape
    symbols = len(np.unique(w))
    # Half a bit of every symbol's count is noise that a smooth table cannot know.
    assert len(coded) <= coding.entropy(w) * w.size / 8 + header + 16 + 0.15 * symbols + 14
    for place in range(14, 40):  # damage to the table is noticed or decodes to something
        damaged = bytearray(coded)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            coding.decode(bytes(damaged))
