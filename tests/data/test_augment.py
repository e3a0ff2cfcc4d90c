"""Augmentation of whole batches, against loops over images."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.data import Augment, DataError, Mixing


def images(n, height=8, width=6, channels=3, seed=0):
    return np.random.default_rng(seed).integers(
        1, 256, (n, height, width, channels), dtype=np.uint8
    )


def is_crop(out, image, pad):
    """Whether `out` is a window of the padded image, mirrored or not."""
    wide = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    height, width = image.shape[:2]
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            window = wide[top : top + height, left : left + width]
            if (window == out).all():
                return top, left, False
            if (window[:, ::-1] == out).all():
                return top, left, True
    return None


def test_crop_and_flip_give_every_window():
    x = np.repeat(images(1), 600, axis=0)
    out = Augment(crop=1, flip=True)(x, rows=np.arange(600))
    found = [is_crop(image, x[0], 1) for image in out]
    assert None not in found
    assert len(set(found)) == 3 * 3 * 2
    assert 0.4 < np.mean([flipped for _, _, flipped in found]) < 0.6


@settings(max_examples=40, deadline=None)
@given(
    crop=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 5),
    erase=st.sampled_from([0.0, 0.5, 1.0]),
    color=st.sampled_from([0.0, 0.3]),
    channels=st.sampled_from([1, 3, 4]),
    n=st.integers(0, 5),
    seed=st.integers(0, 2**63),
)
def test_an_image_depends_on_seed_epoch_and_row_alone(
    crop, flip, cutout, erase, color, channels, n, seed
):
    augment = Augment(
        crop=crop,
        flip=flip,
        cutout=cutout,
        erase=erase,
        brightness=color,
        contrast=color,
        saturation=color if channels == 3 else 0.0,
    )
    x = images(n, channels=channels)
    before = x.copy()
    rows = np.arange(100, 100 + n)
    out = augment(x, rows=rows, seed=seed, epoch=3)
    assert out.shape == x.shape
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(out, x)
    for i in range(n):
        alone = augment(x[i : i + 1], rows=rows[i : i + 1], seed=seed, epoch=3)
        np.testing.assert_array_equal(alone[0], out[i])


def test_epochs_differ_and_variants_repeat():
    x, rows = images(64), np.arange(64)
    free, bound = Augment(crop=2, flip=True), Augment(crop=2, flip=True, variants=3)
    assert (free(x, rows=rows, epoch=0) != free(x, rows=rows, epoch=3)).any()
    np.testing.assert_array_equal(bound(x, rows=rows, epoch=0), bound(x, rows=rows, epoch=3))
    assert (bound(x, rows=rows, epoch=0) != bound(x, rows=rows, epoch=1)).any()
    assert (free(x, rows=rows, seed=1) != free(x, rows=rows, seed=2)).any()


def boxes(out):
    """Bounding box of what is black, per image, after checking that it is a filled box."""
    for image in out:
        black = (image == 0).all(axis=2)
        rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        if len(rows) == 0:
            yield None
            continue
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert black.sum() == len(rows) * len(columns)
        yield len(rows), len(columns)


def test_cutout_blackens_one_square():
    x = images(300, 16, 16)
    sizes = list(boxes(Augment(cutout=4)(x, rows=np.arange(300))))
    assert max(sizes) == (4, 4)
    assert all(2 <= high <= 4 and 2 <= wide <= 4 for high, wide in sizes)


def test_erase_blackens_a_share_of_the_images():
    x = images(600, 32, 32)
    sizes = list(boxes(Augment(erase=0.5)(x, rows=np.arange(600))))
    hit = [size for size in sizes if size]
    assert 0.42 < len(hit) / len(sizes) < 0.58
    areas = [high * wide / 1024 for high, wide in hit]
    assert min(areas) > 0.01
    assert max(areas) < 0.36


def test_color_follows_its_formula():
    x = images(50, 4, 4)
    out = Augment(brightness=0.5)(x, rows=np.arange(50))
    factors = []
    for image, changed in zip(x.astype(float), out.astype(float), strict=True):
        inside = (changed > 0) & (changed < 255)
        factor = (changed[inside] / image[inside])[image[inside] > 100]
        if len(factor):
            np.testing.assert_allclose(factor, factor.mean(), atol=0.02)
            factors.append(factor.mean())
    assert min(factors) < 0.7
    assert max(factors) > 1.2
    gray = np.repeat(images(20, 4, 4, 1), 3, axis=3)
    same = Augment(saturation=1.0)(gray, rows=np.arange(20))
    assert abs(same.astype(int) - gray).max() <= 1  # gray has no color to change


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"crop": -1}, "augment: crop must be an integer >= 0, got -1"),
        ({"flip": 1.5}, "augment: flip must be in [0, 1], got 1.5"),
        ({"erase": float("nan")}, "augment: erase must be in [0, 1], got nan"),
        ({"variants": 0}, "augment: variants must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings(settings_, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augment(**settings_)


def test_bad_batches():
    with pytest.raises(DataError, match="images must be uint8 of shape"):
        Augment()(images(2).astype(np.float32), rows=[0, 1])
    with pytest.raises(DataError, match="rows must be 2, got shape"):
        Augment()(images(2), rows=[0])
    with pytest.raises(DataError, match="saturation needs 3 channels, got 1"):
        Augment(saturation=0.1)(images(2, channels=1), rows=[0, 1])


@pytest.mark.parametrize("channels_last", [True, False])
def test_mixup_is_the_weighted_sum(channels_last):
    x = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)
    out = x.copy()
    mixture = Mixing(mixup=1.0)(out, key=(1, 2), channels_last=channels_last)
    assert 0 < mixture.weight < 1
    assert sorted(mixture.partner.tolist()) == list(range(6))
    expected = mixture.weight * x.astype(np.float64)
    expected += (1 - mixture.weight) * x[mixture.partner]
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("channels_last", [True, False])
def test_cutmix_weight_is_the_share_of_the_area(channels_last):
    weights = []
    for key in range(40):
        x = np.broadcast_to(np.arange(6.0, dtype=np.float32)[:, None, None, None], (6, 9, 9, 3))
        x = x.copy() if channels_last else x.transpose(0, 3, 1, 2).copy()
        before = x.copy()
        mixture = Mixing(cutmix=1.0)(x, key=(key,), channels_last=channels_last)
        kept = (x == before).mean(axis=(1, 2, 3))
        moved = mixture.partner != np.arange(6)
        np.testing.assert_allclose(kept[moved], mixture.weight, atol=1e-6)
        weights.append(mixture.weight)
    assert min(weights) < 0.4
    assert max(weights) > 0.9


def test_mixing_repeats_and_refuses():
    a, b = (np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32) for _ in "ab")
    mixing = Mixing(mixup=0.2)
    assert mixing(a, key=(5, 6)).weight == mixing(b, key=(5, 6)).weight
    np.testing.assert_array_equal(a, b)
    assert not Mixing()
    with pytest.raises(ValueError, match="mixing: mixup must be a finite number >= 0, got -1"):
        Mixing(mixup=-1)
