"""Pruned tensors in the artifact: every mask comes back, in about its entropy, or is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import ArtifactError, _core
from tests.artifact.test_artifact import qparams


def graph_of(w, bits=None):
    """A graph of one constant that is its output."""
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 2))
    if bits:
        w = g.add_constant("w", w, "w", qparams([1.0], [0], bits=bits, narrow=bits < 8))
        y = g.add_node("dequantize", [w], {}, "dq", "y")
        g.set_outputs([g.add_node("relu", [x], {}, "r", "z"), y])
    else:
        g.set_outputs([g.add_node("relu", [x], {}, "r", "z"), g.add_constant("w", w)])
    return g


def encoded(w, bits=None):
    return _core.artifact.encode(graph_of(w, bits), b"", b"")


def round_trip(w, bits=None):
    """The stream of w after checking that it comes back."""
    data = encoded(w, bits)
    graph = _core.artifact.decode(data)[0]
    again = next(e.constant for e in graph.edges if e.name == "w")
    assert again.dtype == w.dtype
    assert again.tobytes() == w.tobytes()
    info = _core.artifact.inspect(data)["streams"]
    stream = next(s for s in info if (s["edge"], s["part"]) == ("w", "values"))
    assert stream["values"] + stream["indices"] + stream["metadata"] == stream["length"]
    return stream


def pruned(shape, sparsity, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    w = rng.integers(1, 100, shape).astype(dtype)
    return np.asarray(w * (rng.random(shape) >= sparsity))


def entropy_bits(density):
    p = np.array([density, 1 - density])
    return -(p * np.log2(p)).sum()


@pytest.mark.parametrize("sparsity", [0.6, 0.75, 0.9, 0.95, 0.99])
def test_a_random_mask_takes_about_its_entropy(sparsity):
    w = pruned((64, 64, 3, 3), sparsity)
    stream = round_trip(w)
    assert stream["coding"] == "sparse"
    kept = np.count_nonzero(w)
    assert stream["values"] == 4 * kept
    assert stream["indices"] * 8 <= 1.035 * entropy_bits(kept / w.size) * w.size
    assert stream["metadata"] <= 12


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_are_packed_to_their_bits(bits):
    rng = np.random.default_rng(0)
    top = 2 ** (bits - 1) - 1
    w = np.int8(rng.integers(1, top + 1, (50, 41)) * (rng.random((50, 41)) < 0.1))
    stream = round_trip(w, bits)
    assert stream["coding"] == "sparse"
    assert stream["values"] == (np.count_nonzero(w) * bits + 7) // 8


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("width", [2, 4, 8])
def test_blocks_cost_one_mark_each(axis, width):
    rng = np.random.default_rng(0)
    shape = (64, 64, 3, 3)
    units = list(shape)
    units[axis] //= width
    mask = np.repeat(rng.random(units) < 0.25, width, axis=axis)
    w = np.float32(rng.normal(size=shape) * mask) + np.float32(0)  # without negative zeros
    stream = round_trip(w)
    # Whatever else is zero is not stored either.
    assert stream["values"] == 4 * np.count_nonzero(mask)
    assert stream["indices"] * 8 <= 1.04 * entropy_bits(0.25) * w.size / width


def test_n_of_m_costs_positions():
    rng = np.random.default_rng(0)
    w = np.zeros((128, 64), np.float32)
    groups = w.reshape(-1, 8)
    groups[np.arange(len(groups)), rng.integers(0, 8, len(groups))] = 1
    assert round_trip(w)["indices"] == len(groups) * 3 // 8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=0, max_size=4),
    st.floats(0, 1),
    st.sampled_from([np.float32, np.float16, np.int8, np.int32]),
    st.integers(0, 3),
)
def test_any_mask_comes_back(shape, sparsity, dtype, seed):
    round_trip(pruned(tuple(shape), sparsity, seed, dtype))


@pytest.mark.parametrize("sparsity", [0.0, 0.02, 1.0])
def test_dense_and_empty_tensors(sparsity):
    w = pruned((40, 50), sparsity)
    stream = round_trip(w)
    assert (stream["coding"] == "sparse") == (sparsity == 1)
    # A small stream describes a bounded number of elements: 256 a byte.
    big = round_trip(np.zeros((1000, 1000), np.float32))
    assert big["length"] * 256 >= 1000 * 1000


def test_negative_zeros_become_zeros_where_zeros_are_left_out():
    w = np.zeros(100, np.float32)
    w[3], w[50], w[99] = 1e-45, np.nan, -np.inf
    assert round_trip(w)["values"] == 12
    signed = w.copy()
    signed[w == 0] = -0.0  # what a weight times its mask gives
    data = encoded(signed)
    assert data == encoded(w)


def test_a_file_without_pruned_tensors_needs_no_new_reader():
    data = encoded(np.ones((4, 4), np.float32))
    assert struct.unpack_from("<Q", data, 24)[0] & 2 == 0
    data = encoded(pruned((40, 40), 0.9))
    assert struct.unpack_from("<Q", data, 24)[0] & 2 == 2


def stream_cases():
    w = pruned((32, 8, 3, 3), 0.9)
    blocks = np.repeat(pruned((32, 8), 0.8, 1), 4, axis=1).astype(np.float32)
    groups = np.tile(np.float32([0, 0, 3, 0, 0, 0, 0, 0]), (8, 8))
    bitmap = pruned((16, 16), 0.4)
    return [w, blocks, groups, bitmap]


def with_stream(w, change):
    """The file with the bytes of its stream changed, behind valid checksums."""
    from tests.artifact.test_artifact import crc32c

    data = bytearray(encoded(w))
    stream = next(
        s for s in _core.artifact.inspect(bytes(data))["streams"] if s["part"] == "values"
    )
    begin, length = stream["offset"], stream["length"]
    body = change(bytearray(data[begin : begin + length]))
    assert len(body) == length
    data[begin : begin + length] = body
    # The stream's own checksum is the last in the table, then the sections', then the header's.
    table = [struct.unpack_from("<IQQI", data, 64 + 24 * i) for i in range(5)]
    kinds = {kind: (i, offset, size) for i, (kind, offset, size, _) in enumerate(table)}
    _, offset, size = kinds[2]
    data[offset + size - 4 : offset + size] = struct.pack("<I", crc32c(bytes(body)))
    for i, offset, size in kinds.values():
        struct.pack_into("<I", data, 64 + 24 * i + 20, crc32c(bytes(data[offset : offset + size])))
    struct.pack_into("<I", data, 32, crc32c(bytes(data[64 : 64 + 24 * 5])))
    struct.pack_into("<I", data, 60, crc32c(bytes(data[:60])))
    return bytes(data)


@pytest.mark.parametrize("case", range(4))
def test_wrong_streams_are_refused_or_read_in_bounds(case):
    w = stream_cases()[case]
    assert _core.artifact.decode(with_stream(w, lambda body: body))
    rng = np.random.default_rng(case)
    refused = 0
    for trial in range(150):

        def change(body, trial=trial):
            place = trial if trial < 8 else int(rng.integers(len(body)))
            body[place] ^= 1 << int(rng.integers(8))
            return body

        try:
            graph = _core.artifact.decode(with_stream(w, change))[0]
            assert graph.edges[0] is not None
        except ArtifactError:
            refused += 1
    assert refused > 0


def test_the_session_runs_what_was_pruned(tmp_path):
    g = tersor.Graph()
    x = g.add_input("x", "float32", (None, 64))
    w = pruned((32, 64), 0.8)
    g.set_outputs([g.add_node("dense", [x, g.add_constant("w", w)], {})])
    tersor.artifact.save(tmp_path / "m.tersor", g)
    again = tersor.load(tmp_path / "m.tersor")
    value = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    np.testing.assert_array_equal(
        tersor.Session(again, threads=1)(value), tersor.Session(g, threads=1)(value)
    )
    assert (tmp_path / "m.tersor").stat().st_size < 0.3 * w.nbytes + 1000


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_the_summary_counts_what_the_file_holds(bits):
    w = pruned((40, 30), 0.8)
    if bits:
        w = np.int8(w % 7)
    stream = round_trip(w, bits)
    assert _core.artifact.stored_bytes(w, bits or 32) == stream["length"]
