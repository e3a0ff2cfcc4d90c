"""Masks, and the kernels of keys, against sorting in NumPy: exact counts, ties by index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import pruning
from tersor.pruning import (
    block_mask,
    channel_mask,
    global_masks,
    magnitude_mask,
    mask_from_scores,
    nm_mask,
)

SPARSITIES = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0]


def truth(scores, sparsity):
    """Stable sort by descending score: of equal ones the first stays."""
    flat = np.float64(scores).ravel()
    kept = flat.size - round(sparsity * flat.size)
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(-flat, kind="stable")[:kept]] = True
    return mask.reshape(np.shape(scores))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 15, 16, 17, 33, 1000, 16384, 16385, 100_000])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_masks_are_those_of_a_stable_sort(isa, threads, n, sparsity):
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n), rng.integers(-3, 4, n), np.zeros(n)):
        w = values.astype(np.float32)
        np.testing.assert_array_equal(magnitude_mask(w, sparsity), truth(np.abs(w), sparsity))
        np.testing.assert_array_equal(mask_from_scores(w, sparsity), truth(w, sparsity))


@pytest.mark.parametrize("period", [32, 64, 16384])
def test_samples_that_mislead_change_nothing(isa, period):
    w = np.ones(200_000, np.float32)
    w[::period] = 5 + np.arange(len(w[::period]))
    w += np.random.default_rng(0).uniform(size=w.size).astype(np.float32) * 0.1
    for sparsity in (0.02, 0.5, 0.98, 1 - 1 / period, 1 - 2e-5):
        np.testing.assert_array_equal(magnitude_mask(w, sparsity), truth(w, sparsity))


def test_extremes(isa):
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    w = np.array([0.0, -0.0, tiny, -tiny, 1, -1, huge, -huge, np.inf, -np.inf], np.float32)
    for k in range(11):
        np.testing.assert_array_equal(mask_from_scores(w, k / 10), truth(w, k / 10))
        np.testing.assert_array_equal(magnitude_mask(w, k / 10), truth(np.abs(w), k / 10))


@pytest.mark.parametrize("place", [0, 1, 14, 15, 16, 17, 30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nan_is_refused_wherever_it_is(isa, place, sign):
    w = np.ones(31, np.float32)
    w[place] = np.copysign(np.float32(np.nan), np.float32(sign))
    for make in (
        lambda: magnitude_mask(w, 0.5),
        lambda: mask_from_scores(w, 0.0),
        lambda: mask_from_scores(w.reshape(1, -1), 0.5, per_row=True),
        lambda: global_masks([w], 0.5),
        lambda: nm_mask(w, 2, 4),
        lambda: block_mask(w.reshape(1, -1), 0.5),
        lambda: channel_mask(w, 0.5),
    ):
        with pytest.raises(ValueError, match=r"^\w+: scores must be numbers, got nan"):
            make()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30_000), max_size=4), st.sampled_from(SPARSITIES), st.integers(0, 99)
)
def test_global_masks_are_those_of_one_tensor(sizes, sparsity, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.integers(-50, 50, n).astype(np.float32) for n in sizes]
    joined = np.concatenate([np.zeros(0, np.float32), *parts])
    for absolute in (True, False):
        got = global_masks(parts, sparsity, absolute=absolute)
        wanted = truth(np.abs(joined) if absolute else joined, sparsity)
        np.testing.assert_array_equal(np.concatenate([np.zeros(0, bool), *got]), wanted)
        assert [m.shape for m in got] == [p.shape for p in parts]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(1, 60), st.sampled_from(SPARSITIES), st.integers(0, 99))
def test_rows_are_masked_on_their_own(rows, columns, sparsity, seed):
    w = np.random.default_rng(seed).integers(-9, 9, (rows, columns)).astype(np.float32)
    wanted = [truth(np.abs(row), sparsity) for row in w]
    got = magnitude_mask(w, sparsity, per_row=True)
    np.testing.assert_array_equal(got, np.array(wanted, bool).reshape(w.shape))


def nm_truth(w, n, m, axis):
    lines = np.moveaxis(np.abs(w), axis, -1)
    mask = np.zeros(lines.shape, bool)
    for index in np.ndindex(lines.shape[:-1]):
        for first in range(0, lines.shape[-1], m):
            part = lines[index][first : first + m]
            order = np.argsort(-part, kind="stable")[:n]
            mask[index][first + order] = True
    return np.moveaxis(mask, -1, axis)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 6)),
    st.integers(-3, 2),
    st.sampled_from([(2, 4), (1, 4), (4, 8), (0, 3), (3, 3), (1, 1)]),
    st.integers(0, 99),
)
def test_nm_masks_along_any_axis(shape, axis, pattern, seed):
    w = np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)
    np.testing.assert_array_equal(nm_mask(w, *pattern, axis=axis), nm_truth(w, *pattern, axis))


def test_nm_masks_along_several_axes():
    w = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    got = nm_mask(w, 2, 4, axis=(1, 2, 3))
    np.testing.assert_array_equal(got.reshape(8, -1), nm_truth(w.reshape(8, -1), 2, 4, 1))
    assert (got.reshape(8, -1).sum(1) == 14).all()  # six groups of 2, and 2 of the last three


def test_nm_mask_by_scores():
    scores = np.array([-1.0, -2.0, -3.0, -4.0], np.float32)
    np.testing.assert_array_equal(nm_mask(np.ones(4), 1, 4, scores=scores), [1, 0, 0, 0])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([(1, 4), (4, 1), (2, 3), (1, 1), (16, 16)]),
    st.sampled_from(SPARSITIES),
    st.booleans(),
    st.integers(0, 99),
)
def test_block_masks_keep_the_best_blocks(rows, columns, block, sparsity, scored, seed):
    w = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    r, c = block
    parts = [
        [w[i : i + r, j : j + c].astype(np.float64) for j in range(0, columns, c)]
        for i in range(0, rows, r)
    ]
    norms = [[p.sum() if scored else np.sqrt((p**2).sum()) for p in row] for row in parts]
    kept = truth(np.float32(norms), sparsity)
    wanted = np.repeat(np.repeat(kept, r, axis=0), c, axis=1)[:rows, :columns]
    got = block_mask(w, sparsity, block, scores=w if scored else None)
    np.testing.assert_array_equal(got, wanted)


def test_block_masks_of_convolutions_lie_on_the_matrix():
    w = np.random.default_rng(1).normal(size=(8, 4, 3, 3)).astype(np.float32)
    got = block_mask(w, 0.5)
    assert got.shape == w.shape
    np.testing.assert_array_equal(got.reshape(8, -1), block_mask(w.reshape(8, -1), 0.5))
    assert got.sum() == w.size // 2


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_channel_masks(axis, norm):
    w = np.random.default_rng(2).normal(size=(6, 5, 3)).astype(np.float32)
    lines = np.moveaxis(w.astype(np.float64), axis, 0).reshape(w.shape[axis], -1)
    norms = np.abs(lines).sum(1) if norm == "l1" else np.sqrt((lines**2).sum(1))
    np.testing.assert_array_equal(channel_mask(w, 0.5, axis=axis, norm=norm), truth(norms, 0.5))


def test_channel_mask_by_scores():
    np.testing.assert_array_equal(channel_mask(np.ones((3, 2)), 1 / 3, scores=[3, 1, 2]), [1, 0, 1])
    assert channel_mask(np.ones((3, 0)), 0.5).sum() == 1  # of 1.5, the even 2 go


def test_arrays_of_any_layout_and_dtype():
    w = np.random.default_rng(3).normal(size=(7, 12))
    wanted = magnitude_mask(np.float32(w), 0.5)
    np.testing.assert_array_equal(magnitude_mask(np.asfortranarray(w), 0.5), wanted)
    np.testing.assert_array_equal(magnitude_mask(np.repeat(w, 2, 1)[:, ::2], 0.5), wanted)


def test_large_norms_stay_finite_and_in_order():
    huge = np.finfo(np.float32).max
    w = np.array([[huge, huge, 1.0, huge]], np.float32)
    np.testing.assert_array_equal(block_mask(w, 0.5, (1, 2)), [[1, 1, 0, 0]])  # a tie: the first


def test_threads_give_the_same_masks():
    w = np.random.default_rng(4).integers(-5, 5, 200_000).astype(np.float32)
    masks = []
    for n in (1, 2, 3):
        tersor.set_threads(n)
        masks.append(magnitude_mask(w, 0.7).tobytes())
    tersor.set_threads(0)
    assert len(set(masks)) == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda w: magnitude_mask(w, 1.1), r"magnitude_mask: sparsity must be in \[0, 1\], got"),
        (lambda w: mask_from_scores(w, np.nan), "mask_from_scores: sparsity must be in"),
        (lambda w: global_masks([w], -0.1), r"global_masks: sparsity must be in \[0, 1\], got -0"),
        (lambda w: magnitude_mask(w[0], 0.5, per_row=True), "at least 2 dimensions, got shape"),
        (lambda w: nm_mask(w, 5, 4), r"nm_mask: n must be in \[0, m\], got 5"),
        (lambda w: nm_mask(w, 0, 0), r"nm_mask: m must be in \[1, 1024\], got 0"),
        (lambda w: nm_mask(w, 2, 4, axis=2), "axis must be consecutive axes of 2 .* got 2"),
        (lambda w: nm_mask(w, 2, 4, axis=(1, 0)), "axis must be consecutive"),
        (lambda w: nm_mask(w, 2, 4, scores=w[0]), r"scores must have shape \(4, 8\), got \(8,\)"),
        (lambda w: nm_mask(1.0, 2, 4), "nm_mask: w must have at least 1 dimension"),
        (lambda w: block_mask(w, 0.5, (0, 4)), r"block must be at least \(1, 1\), got \(0, 4\)"),
        (lambda w: channel_mask(w, 0.5, norm="l3"), "norm must be l1 or l2, got 'l3'"),
        (lambda w: channel_mask(w, 0.5, axis=2), r"axis must be in \[-2, 2\), got 2"),
        (lambda w: channel_mask(w, 0.5, scores=[1.0]), r"scores must have shape \(4,\), got \(1,"),
    ],
)
def test_errors_name_the_value(call, text):
    with pytest.raises(ValueError, match=text):
        call(np.ones((4, 8), np.float32))


def test_layers_by_pattern():
    names = ["conv1", "layer1.conv1", "layer1.conv2", "fc"]
    assert pruning.select_layers(names) == names
    assert pruning.select_layers(names, include=["layer?.*"], exclude=["*2"]) == ["layer1.conv1"]
    with pytest.raises(ValueError, match="exclude must match layers, got 'conv9', which matches"):
        pruning.select_layers(names, exclude=["conv9"])
    with pytest.raises(TypeError, match="include must be a sequence of patterns, got 'conv1'"):
        pruning.select_layers(names, include="conv1")
