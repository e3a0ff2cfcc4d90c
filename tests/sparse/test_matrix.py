"""Sparse formats: every mask comes back, every malformed part is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.sparse import SparseMatrix

FORMATS = ["csr", "csc", "tiled", "bitmap", "block", "nm"]


def masked(rows, columns, sparsity, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    w = rng.integers(1, 100, (rows, columns)).astype(dtype)
    w[rng.random((rows, columns)) < sparsity] = 0
    return w


def options(format, columns):
    # Every mask fits groups of all their columns.
    return {"nm": (4, 4)} if format == "nm" else {}


def assert_round_trip(w, format, **kwargs):
    ws = SparseMatrix.from_dense(w, format=format, **kwargs)
    assert ws.format == format or format == "auto"
    assert ws.shape == w.shape
    assert ws.dtype == w.dtype
    np.testing.assert_array_equal(ws.to_dense(), w)
    assert ws.entries == np.count_nonzero(w)
    parts = ws.values, ws.indices, ws.starts
    assert ws.nbytes == sum(part.nbytes for part in parts) == sum(ws.storage.values())
    again = SparseMatrix.from_parts(ws.format, w.shape, *parts, **kwargs)
    np.testing.assert_array_equal(again.to_dense(), w)
    for a, b in zip(parts, (again.values, again.indices, again.starts), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*FORMATS, "auto"]),
    st.integers(0, 9),
    st.integers(0, 40),
    st.sampled_from([0.0, 0.3, 0.75, 0.95, 1.0]),
    st.sampled_from([np.float32, np.int8]),
    st.integers(0, 5),
)
def test_formats_round_trip_on_arbitrary_masks(format, rows, columns, sparsity, dtype, seed):
    w = masked(rows, columns, sparsity, seed, dtype)
    if rows > 2:
        w[0], w[1] = 0, 7  # an empty row, a full row
    assert_round_trip(w, format, **options(format, columns))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("value", [0.0, 1.5, np.nan, np.inf, -1e-45])
def test_one_by_one(format, value):
    w = np.full((1, 1), value, np.float32)
    ws = SparseMatrix.from_dense(w, format=format)
    np.testing.assert_array_equal(ws.to_dense(), w)


@pytest.mark.parametrize("format", FORMATS)
def test_wide_matrices(format):
    w = np.zeros((3, 66000), np.float32)
    w[0, 65999] = w[2, 255] = w[2, 256] = w[2, 65536] = 3
    assert_round_trip(w, format)
    assert_round_trip(np.ascontiguousarray(w.T), format)


@pytest.mark.parametrize("block", [(1, 4), (4, 1), (3, 5), (8, 8), (1, 1)])
def test_blocks_hold_whole_blocks(block):
    w = masked(13, 22, 0.9)
    assert_round_trip(w, "block", block=block)
    ws = SparseMatrix.from_dense(w, format="block", block=block)
    used = len({(r // block[0], c // block[1]) for r, c in zip(*np.nonzero(w), strict=True)})
    assert ws.values.size == used * block[0] * block[1]


@pytest.mark.parametrize("nm", [(2, 4), (1, 4), (4, 8), (1, 1), (3, 7), (16, 256)])
def test_nm_has_n_values_per_group(nm):
    n, m = nm
    rng = np.random.default_rng(0)
    w = np.zeros((5, 3 * m + 1), np.float32)
    for row in w:
        for group in range(3):
            row[group * m + rng.permutation(m)[:n]] = 1
    assert_round_trip(w, "nm", nm=nm)
    ws = SparseMatrix.from_dense(w, format="nm", nm=nm)
    assert ws.values.size == 5 * 4 * n
    bits = max(1, (m - 1).bit_length())
    assert ws.storage["indices"] == (5 * 4 * n * bits + 7) // 8


def test_a_group_with_more_than_n_entries_is_refused():
    with pytest.raises(ValueError, match="at most 2 entries, got 3 in row 1, group 0"):
        SparseMatrix.from_dense(np.float32([[0, 0, 0, 0], [1, 1, 0, 1]]), format="nm")


def test_auto_takes_the_smallest():
    for sparsity in (0.1, 0.75, 0.97, 0.999):
        w = masked(64, 512, sparsity)
        sizes = {}
        for format in FORMATS[:-1]:
            sizes[format] = SparseMatrix.from_dense(w, format=format).nbytes
        best = SparseMatrix.from_dense(w)
        assert best.nbytes == min(sizes.values()) == sizes[best.format]
    one_of_four = np.tile(np.float32([0, 0, 2, 0]), (8, 64))
    assert SparseMatrix.from_dense(one_of_four, nm=(1, 4)).format == "nm"


def test_other_inputs_are_converted():
    w = masked(6, 10, 0.5).astype(np.float64)
    np.testing.assert_array_equal(SparseMatrix.from_dense(w[::2, ::-1]).to_dense(), w[::2, ::-1])
    assert SparseMatrix.from_dense([[0, 1]]).dtype == np.float32


def test_wrong_arguments_are_named():
    w = masked(4, 8, 0.5)
    with pytest.raises(ValueError, match="format must be auto, csr"):
        SparseMatrix.from_dense(w, format="coo")
    with pytest.raises(ValueError, match="block height must be in"):
        SparseMatrix.from_dense(w, format="block", block=(0, 4))
    with pytest.raises(ValueError, match="n must be in"):
        SparseMatrix.from_dense(w, format="nm", nm=(5, 4))
    with pytest.raises(ValueError, match="2 dimensions"):
        SparseMatrix.from_dense(w[0])
    with pytest.raises(TypeError, match="from_dense"):
        SparseMatrix()


def spoiled(ws):
    """Parts that are wrong in one place, with what should be complained about."""
    values, indices, starts = ws.values, ws.indices, ws.starts
    yield (values[:-1], indices, starts), "."
    if indices.size:
        yield (values, indices[:-1], starts), "."
        yield (values, np.append(indices, indices[-1:]), starts), "."
    if starts.size:
        yield (values, indices, starts[:-1]), "starts"
        for place in (0, starts.size // 2, starts.size - 1):
            wrong = starts.copy()
            wrong[place] = np.iinfo(starts.dtype).max if 0 < place < starts.size - 1 else 77
            yield (values, indices, wrong), "starts"
    if ws.format in ("csr", "csc", "tiled", "block"):
        for place in (0, indices.size - 1):
            wrong = indices.copy()
            wrong[place] = np.iinfo(indices.dtype).max
            yield (values, wrong, starts), "below"
        wrong = indices.copy()
        wrong[:] = 0
        yield (values, wrong, starts), "ascend"
    if ws.format == "bitmap":
        wrong = indices.copy()
        wrong[-1] |= 0x80
        yield (values, wrong, starts), "bits"
        yield (np.append(values, values[:1]), wrong, starts), "beyond"


@pytest.mark.parametrize("format", FORMATS)
def test_malformed_parts_are_refused(format):
    w = masked(5, 19, 0.4)
    kwargs = options(format, 19)
    ws = SparseMatrix.from_dense(w, format=format, **kwargs)
    for parts, complaint in spoiled(ws):
        with pytest.raises(ValueError, match=complaint):
            SparseMatrix.from_parts(format, w.shape, *parts, **kwargs)
    with pytest.raises(ValueError, match="sparse_matrix"):
        SparseMatrix.from_parts(
            format, (4, 18), ws.values, ws.indices, ws.starts, **kwargs
        ).to_dense()
    with pytest.raises(TypeError, match="float32 or int8"):
        SparseMatrix.from_parts(
            format, w.shape, np.float64(ws.values), ws.indices, ws.starts, **kwargs
        )
    with pytest.raises(TypeError, match="indices must be"):
        SparseMatrix.from_parts(
            format, w.shape, ws.values, np.int64(ws.indices), ws.starts, **kwargs
        )
    with pytest.raises(ValueError, match="rows must be in"):
        SparseMatrix.from_parts(format, (-1, 19), ws.values, ws.indices, ws.starts)


def test_values_outside_of_the_matrix_are_refused():
    block = SparseMatrix.from_dense(np.ones((1, 5), np.float32), format="block")
    wrong = block.values
    wrong[-1] = 1
    with pytest.raises(ValueError, match="outside of the matrix"):
        SparseMatrix.from_parts("block", (1, 5), wrong, block.indices, block.starts)
    nm = SparseMatrix.from_dense(np.float32([[1, 0, 0, 0, 1]]), format="nm")
    wrong = nm.values
    wrong[-1] = 1
    with pytest.raises(ValueError, match="outside of the matrix"):
        SparseMatrix.from_parts("nm", (1, 5), wrong, nm.indices)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), st.binary(max_size=40), st.binary(max_size=20), st.data())
def test_random_parts_never_crash(format, indices, starts, data):
    rows, columns = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 300))
    values = np.ones(data.draw(st.integers(0, 20)), np.int8)
    starts_type = {"tiled": np.uint16, "bitmap": np.uint8, "nm": np.uint8}.get(format, np.uint32)
    index_type = np.uint8 if format in ("tiled", "bitmap", "nm") else np.uint16
    size = np.dtype(starts_type).itemsize
    parts = (
        np.frombuffer(indices[: len(indices) // 2 * 2], np.uint8).view(index_type),
        np.frombuffer(starts[: len(starts) // size * size], np.uint8).view(starts_type),
    )
    try:
        ws = SparseMatrix.from_parts(format, (rows, columns), values, *parts)
    except ValueError:
        return
    assert_round_trip(ws.to_dense(), format)


def test_repr_tells_shape_format_and_size():
    text = repr(SparseMatrix.from_dense(np.eye(4, 8, dtype=np.float32), format="csr"))
    assert text == ("SparseMatrix(4x8, float32, format='csr', sparsity=0.875, nbytes=44)")
