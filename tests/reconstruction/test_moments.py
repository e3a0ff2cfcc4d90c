"""Second moments against NumPy in float64, for matrices and for the patches of convolutions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.reconstruction import Moments


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sums(x, t, groups):
    x = np.float64(x).reshape(len(x), groups, -1)
    t = np.float64(t).reshape(len(t), groups, -1)
    return np.einsum("ngi,ngj->gij", x, x), np.einsum("ngi,ngj->gij", t, x)


def assert_matches(moments, x, t, groups):
    xx, tx = sums(x, t, groups)
    rows = len(x)
    # At most 256 products in float32: the header's bound with sum |a b| <= rows * max |a b|.
    bound = 256 * np.finfo(np.float32).eps * max(1, np.abs(x).max() * max(1, np.abs(t).max()))
    bound *= max(1, np.abs(x).max() / max(1, np.abs(t).max())) * np.sqrt(rows)
    np.testing.assert_allclose(moments.hessian * rows / 2, xx, rtol=1e-5, atol=bound)
    np.testing.assert_allclose(moments.cross * rows, tx, rtol=1e-5, atol=bound)
    np.testing.assert_array_equal(moments.hessian, moments.hessian.transpose(0, 2, 1))
    wide = np.float64(x).reshape(rows, groups, -1)
    np.testing.assert_allclose(moments.input_mean, wide.mean(0), rtol=1e-12, atol=1e-15)
    wide = np.float64(t).reshape(rows, groups, -1)
    np.testing.assert_allclose(moments.target_mean, wide.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(moments.target_variance, wide.var(0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("columns", [1, 5, 15, 16, 17, 47, 48, 49, 100])
@pytest.mark.parametrize("rows", [1, 255, 256, 257])
def test_moments_match_numpy(isa, columns, rows):
    x, t = random(rows, 2 * columns), random(rows, 6, seed=1)
    moments = Moments(columns, groups=2, outputs=3)
    moments.add(x, t)
    assert moments.rows == rows
    assert_matches(moments, x, t, 2)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 20),
    st.lists(st.integers(0, 300), min_size=1, max_size=3),
    st.floats(1e-3, 1e3),
)
def test_moments_of_batches_are_those_of_all_rows(groups, columns, outputs, batches, scale):
    moments, rows = Moments(columns, groups=groups, outputs=outputs), []
    for seed, n in enumerate(batches):
        x, t = random(n, groups * columns, seed=seed) * scale, random(n, groups * outputs, seed=9)
        moments.add(np.asfortranarray(x), t)
        rows.append((x, t))
    x, t = (np.concatenate(part) for part in zip(*rows, strict=True))
    if len(x):
        xx, tx = sums(x, t, groups)
        np.testing.assert_allclose(moments.hessian * len(x) / 2, xx, atol=1e-4 * xx.max())
        np.testing.assert_allclose(moments.cross * len(x), tx, atol=1e-4 * np.abs(x).sum())


def patches(x, kernel, strides, dilations, pads, output):
    """Rows (image, y, x) of columns (channel, ky, kx), one value at a time."""
    n, channels = x.shape[:2]
    rows = np.zeros((n, *output, channels, *kernel), np.float32)
    for index in np.ndindex(*output, *kernel):
        o, k = index[:2], index[2:]
        i = [o[d] * strides[d] + k[d] * dilations[d] - pads[d] for d in range(2)]
        if all(0 <= i[d] < x.shape[2 + d] for d in range(2)):
            rows[:, o[0], o[1], :, k[0], k[1]] = x[:, :, i[0], i[1]]
    return rows.reshape(n * output[0] * output[1], -1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "pads"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((3, 2), (2, 1), (1, 2), (0, 1, 2, 1)),
        ((5, 1), (3, 3), (1, 1), (2, 0, 2, 0)),
    ],
)
def test_patches_of_convolutions(isa, groups, kernel, strides, dilations, pads):
    x = random(3, 4, 9, 7)
    output = tuple(
        (n + a + b - d * (k - 1) - 1) // s + 1
        for n, a, b, d, k, s in zip(
            x.shape[2:], pads[:2], pads[2:], dilations, kernel, strides, strict=True
        )
    )
    rows = patches(x, kernel, strides, dilations, pads, output)
    t = random(3, 2 * groups, *output, seed=1)
    moments = Moments(4 // groups * kernel[0] * kernel[1], groups=groups, outputs=2)
    moments.add_images(x, t, kernel=kernel, strides=strides, dilations=dilations, pads=pads)
    assert_matches(moments, rows, t.transpose(0, 2, 3, 1).reshape(len(rows), -1), groups)
    gathered = _core.reconstruction.gather_patches(
        x, output, kernel, strides, dilations, pads[:2], False
    )
    np.testing.assert_array_equal(gathered, rows)


def test_patches_of_transposed_convolutions():
    torch = pytest.importorskip("torch")
    x, w = random(2, 3, 5, 4), random(3, 6, 3, 2, seed=1)
    wanted = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(w), stride=(2, 1), padding=(1, 0), dilation=(1, 2)
    ).numpy()
    rows = _core.reconstruction.gather_patches(
        x, wanted.shape[2:], (3, 2), (2, 1), (1, 2), (1, 0), True
    )
    got = rows @ w.transpose(0, 2, 3, 1).reshape(-1, 6)
    got = got.reshape(2, *wanted.shape[2:], 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_one_and_three_axes():
    x = random(2, 3, 11)
    moments = Moments(3 * 4)
    moments.add_images(x, kernel=[4], strides=[3])
    rows = np.stack([x[n, :, 3 * o : 3 * o + 4].ravel() for n in range(2) for o in range(3)])
    np.testing.assert_allclose(moments.hessian[0] * 3, rows.T @ rows, rtol=1e-5, atol=1e-5)
    x = random(1, 2, 3, 3, 3)
    moments = Moments(2 * 27)
    moments.add_images(x, kernel=(3, 3, 3))
    np.testing.assert_allclose(
        moments.hessian[0], 2 * np.outer(x.ravel(), x.ravel()), rtol=1e-6, atol=1e-6
    )


def test_threads_give_the_same_bytes():
    x, t = random(600, 130), random(600, 70, seed=1)
    images = random(5, 8, 12, 12)
    seen = []
    for threads in (1, 2):
        rows, maps = Moments(130, outputs=70, threads=threads), Moments(72, threads=threads)
        rows.add(x, t)
        maps.add_images(images, kernel=(3, 3), pads=(1, 1))
        seen.append([a.tobytes() for a in (rows.hessian, rows.cross, maps.hessian)])
    assert seen[0] == seen[1]


def test_merge_adds_the_sums():
    x = random(40, 5)
    whole, parts = Moments(5), [Moments(5), Moments(5)]
    whole.add(x)
    for part, half in zip(parts, np.split(x, 2), strict=True):
        part.add(half)
    parts[0].merge(parts[1])
    np.testing.assert_allclose(parts[0].hessian, whole.hessian, rtol=1e-6)
    assert parts[0].rows == 40
    with pytest.raises(ValueError, match=r"moments: other must have 1 groups of 5 columns"):
        parts[0].merge(Moments(6))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    x = random(3, 4)
    x[2, 3] = bad
    with pytest.raises(ValueError, match="moments: x must be finite, got"):
        Moments(4).add(x)
    with pytest.raises(ValueError, match="moments: targets must be finite, got"):
        Moments(4, outputs=4).add(random(3, 4), x)
    with pytest.raises(ValueError, match="moments: x must be finite, got"):
        Moments(4).add_images(x.reshape(1, 3, 2, 2)[:, 2:], kernel=(2, 2))


def test_extreme_values():
    moments = Moments(2)
    moments.add(np.array([[1e18, 1e-30], [-1e18, 1e-30]], np.float32))
    np.testing.assert_allclose(moments.hessian[0, 0, 0], 2e36, rtol=1e-6)
    assert moments.hessian[0, 1, 1] == 0 or moments.hessian[0, 1, 1] < 1e-45


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Moments(0), "columns must be at least 1, got 0"),
        (lambda: Moments(1, groups=0), "groups must be at least 1, got 0"),
        (lambda: Moments(1, outputs=-1), "outputs must be at least 0, got -1"),
        (lambda: Moments(3).add(random(2, 4)), r"x must have shape \(rows, 3\), got \(2, 4\)"),
        (lambda: Moments(3, outputs=1).add(random(2, 3)), "targets must be given"),
        (lambda: Moments(3).add(random(2, 3), random(2, 1)), r"targets must have shape \(2, 0\)"),
        (lambda: Moments(3).hessian, "rows must have been added, got none"),
        (
            lambda: Moments(5).add_images(random(1, 1, 4, 4), kernel=(2, 2)),
            "patches must have 5 values, got 4",
        ),
        (
            lambda: Moments(4).add_images(random(1, 1, 4, 4), kernel=(2, 2), strides=(0, 1),
                                          output=(1, 1)),
            "sizes, strides and dilations must be at least 1",
        ),
        (
            lambda: Moments(4).add_images(random(1, 1, 4, 4), kernel=(2, 2), transposed=True),
            "output must be given for a transposed convolution",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_value(make, text):
    with pytest.raises(ValueError, match=f"moments: {text}"):
        make()


def test_threads_follow_the_package():
    tersor.set_threads(1)
    moments = Moments(2)
    moments.add(np.ones((1, 2)))
    tersor.set_threads(0)
    assert repr(moments) == "Moments(2, groups=1, outputs=0, 1 rows)"
