"""The other losses: dkd, jsd, mse, attention, relational. NumPy float64 and finite differences."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.distillation import (
    attention_loss,
    dkd_loss,
    feature_loss,
    jsd_loss,
    kd_loss,
    kl_loss,
    mse_logits_loss,
    relational_loss,
)
from tests.distillation import formulas


def logits(rows, classes, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    z, t = rng.normal(0, scale, (2, rows, classes)).astype(np.float32)
    return z, t, rng.integers(0, classes, rows)


def check_gradient(gradient, truth, z, tolerance=2e-5):
    """Whole for few entries, along random directions for many."""
    wide = np.float64(z)
    if z.size <= 60:
        numeric = formulas.numeric_gradient(truth, wide)
        size = np.abs(numeric).max()
        np.testing.assert_allclose(np.float64(gradient), numeric, atol=tolerance * size + 1e-8)
        return
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=z.shape)
        step = 1e-5 * direction
        slope = (truth(wide + step) - truth(wide - step)) / 2e-5
        size = np.linalg.norm(np.float64(gradient)) * np.sqrt(z.size) / 30
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-4, abs=1e-4 * size)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(4, 2), (5, 10), (3, 17), (4, 1000), (2, 3000)])
def test_dkd_loss(isa, shape, temperature):
    z, t, y = logits(*shape)
    loss, gradient = dkd_loss(z, t, y, temperature=temperature, alpha=0.7, beta=3.0)
    truth = functools.partial(
        formulas.dkd, t=np.float64(t), y=y, temperature=temperature, alpha=0.7, beta=3.0
    )
    assert loss == pytest.approx(truth(np.float64(z)), rel=3e-6, abs=3e-6)
    check_gradient(gradient, truth, z)
    out = z.copy()
    assert (
        dkd_loss(out, t, y, temperature=temperature, alpha=0.7, beta=3.0, inplace=True)[0] == loss
    )
    np.testing.assert_array_equal(out, gradient)


def test_dkd_of_confident_rows(isa):
    z, t, y = logits(8, 50)
    z[np.arange(8), y] += 25
    t[np.arange(8), y] += 28
    options = {"temperature": 2.0, "alpha": 1.0, "beta": 8.0}
    loss, gradient = dkd_loss(z, t, y, **options)
    truth = functools.partial(formulas.dkd, t=np.float64(t), y=y, **options)
    assert loss == pytest.approx(truth(np.float64(z)), rel=1e-5)
    check_gradient(gradient, truth, z)


def test_dkd_ignores_rows():
    z, t, y = logits(9, 12)
    y[::2] = -1
    z[0] = np.nan
    counts = y >= 0
    loss, gradient = dkd_loss(z, t, y, ignore_index=-1)
    expected, expected_gradient = dkd_loss(z[counts], t[counts], y[counts])
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(gradient[counts], expected_gradient)
    assert (gradient[~counts] == 0).all()


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(4, 2), (5, 10), (3, 17), (4, 1000), (2, 3000)])
def test_jsd_loss(isa, shape, beta):
    for temperature in (1.0, 3.0):
        z, t, _ = logits(*shape)
        options = {"beta": beta, "temperature": temperature}
        loss, gradient = jsd_loss(z, t, **options)
        truth = functools.partial(formulas.jsd, t=np.float64(t), **options)
        assert loss == pytest.approx(truth(np.float64(z)), rel=3e-6, abs=2e-6)
        check_gradient(gradient, truth, z)
        out = z.copy()
        assert jsd_loss(out, t, **options, inplace=True)[0] == loss
        np.testing.assert_array_equal(out, gradient)


def test_jsd_of_equal_logits_and_ignored_rows():
    z, t, y = logits(6, 30)
    loss, gradient = jsd_loss(z, z)
    assert abs(loss) < 1e-7
    assert np.abs(gradient).max() < 1e-7
    assert jsd_loss(z, t, beta=0)[0] == kl_loss(z, t, temperature=1.0)[0]
    y[:3] = -100
    np.testing.assert_allclose(jsd_loss(z, t, y)[0], jsd_loss(z[3:], t[3:])[0], rtol=1e-6)


@pytest.mark.parametrize("loss", [dkd_loss, jsd_loss, functools.partial(jsd_loss, beta=1.0)])
def test_extreme_logits(isa, loss):
    """Rows computed in double: beyond 2^20, and -inf as probability 0."""
    z, t, y = logits(4, 40)
    z[:, 20:] = t[:, 20:] = -np.inf
    y %= 20
    value, gradient = loss(z, t, y)
    expected, expected_gradient = loss(z[:, :20], t[:, :20], y)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient[:, :20], expected_gradient, atol=1e-6)
    assert (gradient[:, 20:] == 0).all()
    z, t, y = logits(4, 40)
    value, gradient = loss(z + 2**22, t, y)
    expected, expected_gradient = loss((z + 2**22) - 2**22, t, y)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


@pytest.mark.parametrize("loss", [dkd_loss, jsd_loss, mse_logits_loss])
@pytest.mark.parametrize("who", ["student", "teacher"])
def test_bad_logits(isa, loss, who):
    z, t, y = logits(6, 40)
    (z if who == "student" else t)[3, 7] = np.nan
    labels = () if loss is mse_logits_loss else (y,)
    with pytest.raises(ValueError, match=rf"_loss: {who}( logits)? must be .*, got nan"):
        loss(z, t, *labels)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 33, 4095, 4096, 4097, 100003])
def test_mse(isa, threads, size):
    rng = np.random.default_rng(size)
    x, y = rng.normal(size=(2, size)).astype(np.float32)
    loss, gradient = feature_loss(x, y)
    d = np.float64(x) - y
    assert loss == pytest.approx((d**2).mean() if size else 0, rel=1e-6)
    np.testing.assert_allclose(gradient, 2 * d / max(size, 1), rtol=3e-7, atol=1e-30)
    out = x.copy()
    assert feature_loss(out, y, inplace=True)[1] is out
    np.testing.assert_array_equal(out, gradient)


@pytest.mark.parametrize("axis", [1, -1])
def test_feature_loss_with_projection(axis):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4, 2, 5)), rng.normal(size=(3, 4, 2, 5))
    channels = x.shape[axis]
    y = np.concatenate([y, y], axis)
    projection = rng.normal(size=(2 * channels, channels))

    def truth(x, projection):
        moved = np.moveaxis(np.tensordot(projection, x, (1, axis)), 0, axis)
        return ((moved - y) ** 2).mean()

    loss, dx, dprojection = feature_loss(x, y, projection=projection, axis=axis)
    assert dx.shape == x.shape
    assert loss == pytest.approx(truth(x, projection), rel=1e-6)
    np.testing.assert_allclose(
        dprojection, formulas.numeric_gradient(lambda p: truth(x, p), projection), atol=1e-5
    )
    np.testing.assert_allclose(
        dx, formulas.numeric_gradient(lambda v: truth(v, projection), x), atol=1e-5
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (1, 1, 7), (3, 20, 5, 5), (2, 64, 17)])
def test_attention_loss(isa, threads, shape, channels_last):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    y = rng.normal(size=(shape[0], shape[1] + 2, *shape[2:])).astype(np.float32)
    if channels_last:
        x, y = (np.moveaxis(a, 1, -1) for a in (x, y))
    loss, gradient = attention_loss(x, y, channels_last=channels_last)

    def truth(x):
        return formulas.attention(x, np.float64(y), channels_last)

    assert loss == pytest.approx(truth(np.float64(x)), rel=1e-5, abs=1e-9)
    check_gradient(gradient, truth, x, 1e-4)
    tersor.set_threads(1)
    again = attention_loss(x, y, channels_last=channels_last)
    assert again[0] == loss
    np.testing.assert_array_equal(again[1], gradient)


def test_attention_of_zeros_and_infinities():
    zero, other = np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
    loss, gradient = attention_loss(zero, other)
    assert loss == pytest.approx(0.25)
    assert (gradient == 0).all()
    other[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="attention_loss: teacher must be finite, got inf in sam"):
        attention_loss(zero, other)


@pytest.mark.parametrize(("rows", "dimensions"), [(1, 3), (2, 5), (5, 3), (9, 17), (33, 70)])
def test_relational_loss(isa, threads, rows, dimensions):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, dimensions)).astype(np.float32)
    y = rng.normal(size=(rows, dimensions + 4)).astype(np.float32)
    for weights in ((1.0, 0.0), (0.0, 1.0), (25.0, 50.0)):
        options = dict(zip(("distance", "angle"), weights, strict=True))
        loss, gradient = relational_loss(x, y, **options)

        def truth(x, options=options):
            return formulas.relational(x, np.float64(y), **options)

        assert loss == pytest.approx(truth(np.float64(x)), rel=1e-5, abs=1e-9)
        check_gradient(gradient, truth, x, 1e-4)
        tersor.set_threads(1)
        again = relational_loss(x.copy(), y, inplace=True, **options)
        assert again[0] == loss
        np.testing.assert_array_equal(again[1], gradient)


def test_relational_loss_of_equal_embeddings():
    x = np.ones((4, 3), np.float32)
    loss, gradient = relational_loss(x, x)
    assert loss == 0
    assert (gradient == 0).all()
    y = np.random.default_rng(0).normal(size=(4, 2))
    assert np.isfinite(relational_loss(x, y)[1]).all()
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match="relational_loss: student must be finite, got nan in row"):
        relational_loss(x, y)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("loss", [dkd_loss, jsd_loss, mse_logits_loss])
def test_bfloat16_and_threads(isa, loss, dtype):
    z, t, y = logits(130, 300)
    z, t = z.astype(dtype), t.astype(dtype)
    labels = () if loss is mse_logits_loss else (y,)
    results = []
    for n in (1, 2):
        tersor.set_threads(n)
        results.append(loss(z, t, *labels))
    tersor.set_threads(0)
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    wide = loss(z.astype(np.float32), t.astype(np.float32), *labels)
    assert results[0][0] == wide[0]
    assert results[0][1].dtype == dtype
    np.testing.assert_array_equal(results[0][1], wide[1].astype(dtype))
    out = np.empty_like(z)
    assert loss(z, t, *labels, out=out)[1] is out


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("jsd_sums", lambda z, t: jsd_loss(z, t, beta=0.3)),
        ("jsd_gradient", lambda z, t: jsd_loss(z, t)),
        ("squared_differences", mse_logits_loss),
        ("attention_map", lambda z, t: attention_loss(z[:, None], t[:, None])),
        ("attention_gradient", lambda z, t: attention_loss(z[None], t[None], channels_last=True)),
        ("squared_distances", relational_loss),
        ("angles_of_side", relational_loss),
        ("weighted_differences", relational_loss),
    ],
)
def test_kernels_equal_ref(op, call):
    """Row by row of the tables, whatever the active level prefers."""
    z, t, _ = logits(20, 1100)
    variants = [r["variant"] for r in _core.base.kernels() if r["op"] == op and r["available"]]
    results = {}
    for variant in variants:
        _core.base.force_kernel("distillation", op, variant)
        results[variant] = call(z, t)
    _core.base.force_kernel("distillation", op, "")
    assert len(results) >= 2
    reference = results["ref"]
    for loss, gradient in results.values():
        assert loss == pytest.approx(reference[0], rel=1e-5)
        size = np.abs(reference[1]).max()
        np.testing.assert_allclose(gradient, reference[1], atol=1e-5 * size)


Z = np.zeros((4, 5), np.float32)
Y = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: dkd_loss(Z, Z[:, :4], Y), r"dkd_loss: teacher must have shape \(4, 5\), got"),
        (lambda: dkd_loss(Z, Z, [0, 1, 2, 5]), r"dkd_loss: labels must be in \[0, 5\) or -100"),
        (lambda: dkd_loss(Z, Z, Y, temperature=0), r"dkd_loss: temperature must be finite and > 0"),
        (lambda: dkd_loss(Z, Z, Y, alpha=-1), r"dkd_loss: alpha must be finite and >= 0, got -1"),
        (lambda: dkd_loss(Z, Z, Y, beta=np.inf), r"dkd_loss: beta must be finite and >= 0"),
        (lambda: dkd_loss(Z[:, :1], Z[:, :1], [0] * 4), r"dkd_loss: student must have at least 2"),
        (lambda: jsd_loss(Z, Z, beta=1.5), r"jsd_loss: beta must be in \[0, 1\], got 1.5"),
        (lambda: jsd_loss(Z, Z, temperature=np.nan), r"jsd_loss: temperature must be finite"),
        (lambda: jsd_loss(Z, Z, Y[:2]), r"jsd_loss: labels must have shape \(4,\), got \(2,\)"),
        (lambda: mse_logits_loss(Z, Z[:2]), r"mse_logits_loss: teacher must have shape \(4, 5\)"),
        (lambda: mse_logits_loss(Z, Z, out=np.zeros((4, 4), np.float32)), r"out must be C-contig"),
        (lambda: jsd_loss(Z, Z, out=Z.copy(), inplace=True), r"out must be None with inplace"),
        (lambda: feature_loss(Z, Z, projection=np.zeros((5, 4))), r"projection must have shape"),
        (lambda: feature_loss(Z, Z, projection=np.zeros((6, 5))), r"teacher must have 6 channels"),
        (lambda: feature_loss(Z, Z, projection=Z, axis=2), r"axis must be in \[-2, 2\), got 2"),
        (lambda: feature_loss(Z, Z, projection=Z, inplace=True), r"must not be used with proj"),
        (lambda: attention_loss(Z, Z), r"must have samples, channels and positions"),
        (lambda: attention_loss(Z[None], Z[None, :, :2]), r"must have the student's samples and"),
        (lambda: relational_loss(Z, Z[:2]), r"with equal rows, got \(4, 5\) and \(2, 5\)"),
        (lambda: relational_loss(Z, Z, distance=-1), r"distance must be finite and >= 0, got -1"),
        (lambda: relational_loss(Z, Z, angle=np.nan), r"angle must be finite and >= 0, got nan"),
    ],
)
def test_bad_values(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: jsd_loss(np.zeros((4, 5)), Z, inplace=True),
        lambda: dkd_loss(Z, Z, [0.5] * 4),
        lambda: mse_logits_loss(Z, Z, out=np.zeros((4, 5))),
        lambda: relational_loss(np.zeros((4, 5)), Z, inplace=True),
        lambda: relational_loss(np.asfortranarray(Z), Z, inplace=True),
    ],
)
def test_bad_types(call):
    with pytest.raises(TypeError, match="_loss: "):
        call()


def test_byte_order():
    """Arrays of the other byte order are converted, not misread."""
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=(2, 4, 5)).astype(np.float32)
    y = np.array([0, 1, 2, -100])
    swapped = [x.astype(x.dtype.newbyteorder(">")) for x in (z, t, y)]
    for loss in (kd_loss, dkd_loss, jsd_loss):
        expected, gradient = loss(z, t, y)
        again, same = loss(*swapped)
        assert again == expected
        np.testing.assert_array_equal(same, gradient)
        with pytest.raises((TypeError, ValueError), match="_loss: "):
            loss(z, t, y, out=np.empty((4, 5), ">f4"))
        with pytest.raises(TypeError, match="student must be a writeable"):
            loss(*swapped, inplace=True)
    for loss in (mse_logits_loss, feature_loss, relational_loss):
        assert loss(*swapped[:2])[0] == loss(z, t)[0]
    with pytest.raises(ValueError, match=r"labels must be below 2\*\*63, got 18446744073709551516"):
        kd_loss(z, t, np.full(4, 2**64 - 100, np.uint64))
