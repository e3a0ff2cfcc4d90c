"""kd_loss and kl_loss against NumPy in float64 (formulas.py) and finite differences."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.distillation import dkd_loss, jsd_loss, kd_loss, kl_loss
from tests.distillation import formulas

SHAPES = [(1, 2), (7, 3), (128, 10), (17, 64), (9, 65), (3, 1000), (2, 1025), (2, 5003)]


def logits(rows, classes, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    z, t = (rng.normal(0, scale, (2, rows, classes))).astype(np.float32)
    return z, t, rng.integers(0, classes, rows)


def check(z, t, y=None, *, strict=False, tolerance=5e-7, **options):
    """Relative L2 error at most 5e-7; unless `strict`, of the terms that the gradient is the
    difference of, where few entries do not average out what p - q lost.
    """  # fmt: skip
    loss, gradient = kd_loss(z, t, y, **options)
    expected, expected_gradient = formulas.kd(z, t, y, **options)
    assert gradient.dtype == np.float32
    assert gradient.shape == z.shape
    error = np.linalg.norm(gradient - expected_gradient)
    size = np.linalg.norm(expected_gradient)
    temperature = options.get("temperature", 4.0)
    if not strict and (y is None or options.get("alpha", 0.5) < 1):
        p = np.exp(formulas.log_softmax(np.float64(z) / temperature))
        size += temperature / len(z) * np.linalg.norm(p)
    assert error <= tolerance * size
    # Logarithms of float32 sums, times T^2.
    assert loss == pytest.approx(expected, rel=1e-6, abs=3e-7 * temperature**2)
    return loss, gradient


@pytest.mark.parametrize("scale", [1.0, 6.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.5, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_kd_loss_matches_numpy(isa, shape, temperature, scale):
    z, t, y = logits(*shape, scale)
    check(z, t, y, temperature=temperature, alpha=0.3)
    check(z, t, y, temperature=temperature, alpha=0.0)
    check(z, t, y, temperature=temperature, alpha=1.0)
    check(z, t, y, temperature=temperature, label_smoothing=0.1)


@pytest.mark.parametrize("shape", [(128, 10), (256, 1000), (64, 32000), (3, 128256), (2, 262144)])
def test_kd_loss_of_real_sizes(threads, shape):
    z, t, y = logits(*shape)
    check(z, t, y, alpha=0.0, strict=True)
    loss, gradient = check(z, t, y, strict=True)
    tersor.set_threads(1)
    again = kd_loss(z, t, y)
    assert loss == again[0]
    np.testing.assert_array_equal(gradient, again[1])


@pytest.mark.parametrize("classes", [5, 64, 65, 1030])
@pytest.mark.parametrize("ignore_index", [-100, 0, 99999])
def test_ignored_rows_leave_both_terms(isa, classes, ignore_index):
    z, t, y = logits(21, classes)
    y[3:15:2] = ignore_index
    z[3] = np.nan  # nobody looks at it
    counts = y != ignore_index
    clean = np.where(np.isnan(z), 0, z)
    loss, gradient = kd_loss(z, t, y, ignore_index=ignore_index)
    expected, expected_gradient = formulas.kd(clean, t, y, ignore_index=ignore_index)
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    assert (gradient[~counts] == 0).all()
    assert kd_loss(z[counts], t[counts], y[counts])[0] == pytest.approx(loss, rel=1e-6)
    loss, gradient = kd_loss(z, t, np.full(21, ignore_index), ignore_index=ignore_index)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("classes", [6, 70, 1100])
def test_class_weights(isa, classes, smoothing):
    z, t, y = logits(19, classes)
    y[4] = -100
    w = np.random.default_rng(1).uniform(0, 2, classes).astype(np.float32)
    check(z, t, y, class_weights=w, label_smoothing=smoothing)


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("classes", [3, 10, 300, 2050])
def test_standardized_logits(isa, classes, with_labels):
    rng = np.random.default_rng(classes)
    z, t, y = logits(4, classes, 3.0)
    z, t = z + 7, t * 2 - 5
    y = y if with_labels else None
    loss, gradient = kd_loss(z, t, y, standardize=True)
    assert loss == pytest.approx(formulas.kd(z, t, y, standardize=True)[0], rel=2e-6)
    # The gradient passes through mean and deviation.
    for _ in range(3):
        direction = rng.normal(size=z.shape)
        step = 1e-5 * direction
        up, down = (
            formulas.kd(np.float64(z) + s, t, y, standardize=True)[0] for s in (step, -step)
        )
        slope = (up - down) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-4, abs=1e-6)
    if classes <= 10:
        numeric = formulas.numeric_gradient(
            lambda x: formulas.kd(x, t, y, standardize=True)[0], np.float64(z)
        )
        np.testing.assert_allclose(gradient, numeric, atol=1e-6)


def test_standardized_constant_rows(isa):
    z, t = np.full((2, 100), 3.0, np.float32), np.full((2, 100), -1.0, np.float32)
    loss, gradient = kd_loss(z, t, standardize=True)
    assert loss == pytest.approx(0, abs=1e-6)
    assert np.abs(gradient).max() < 1


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize(("classes", "k"), [(10, 3), (10, 10), (1000, 8), (5000, 64)])
def test_saved_top_logits(isa, classes, k, with_labels):
    z, t, y = logits(11, classes, 3.0)
    indices = np.argsort(-t, axis=1)[:, :k]
    values = np.take_along_axis(t, indices, 1)
    y = y if with_labels else None
    loss, gradient = kd_loss(z, values, y, teacher_indices=indices)
    dense = formulas.dense_teacher(values, indices, classes)
    expected, expected_gradient = formulas.kd(z, dense, y)
    assert loss == pytest.approx(expected, rel=1e-6)
    error = np.linalg.norm(gradient - expected_gradient)
    assert error <= 5e-7 * np.linalg.norm(expected_gradient)


@pytest.mark.parametrize("student_type", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("teacher_type", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(33, 10), (130, 64), (5, 1000)])
def test_bfloat16(isa, shape, student_type, teacher_type):
    z, t, y = logits(*shape)
    z, t = z.astype(student_type), t.astype(teacher_type)
    loss, gradient = kd_loss(z, t, y)
    expected, expected_gradient = formulas.kd(z.astype(np.float32), t.astype(np.float32), y)
    assert gradient.dtype == student_type
    assert loss == pytest.approx(expected, rel=1e-6)
    # The gradient is the float32 one, rounded.
    wide = kd_loss(z.astype(np.float32), t.astype(np.float32), y)[1]
    np.testing.assert_array_equal(gradient, wide.astype(student_type))
    out = np.empty_like(z)
    assert kd_loss(z, t, y, out=out)[1] is out
    np.testing.assert_allclose(wide, expected_gradient, atol=1e-7)


def test_narrowing_equals_ml_dtypes(isa):
    """Through the gradient: every kind of rounding, and NaN never gets there."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(64, 999)).astype(ml_dtypes.bfloat16)
    _, gradient = kl_loss(z, z[::-1].copy())
    wide = kl_loss(z.astype(np.float32), z[::-1].astype(np.float32))[1]
    np.testing.assert_array_equal(gradient, wide.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("classes", [10, 100, 4000])
def test_out_and_inplace(isa, classes):
    z, t, y = logits(37, classes)
    loss, gradient = kd_loss(z, t, y)
    out = np.empty_like(z)
    again, given = kd_loss(z, t, y, out=out)
    assert given is out
    assert again == loss
    np.testing.assert_array_equal(out, gradient)
    over = z.copy()
    again, given = kd_loss(over, t, y, inplace=True)
    assert given is over
    assert again == loss
    np.testing.assert_array_equal(over, gradient)
    over = z.copy()
    expected = kd_loss(z, t, y, standardize=True)[1]
    kd_loss(over, t, y, standardize=True, inplace=True)
    np.testing.assert_array_equal(over, expected)


def test_extra_memory():
    """At most one array of the size of the logits, none in place: but for two rows a thread."""
    z, t, y = logits(256, 8192)
    out = np.empty_like(z)
    for kwargs, limit in (({}, 1.02), ({"out": out}, 0.02), ({"inplace": True}, 0.02)):
        tersor._core.base.trim_memory()
        before = _core.base.memory_stats()["current_bytes"]
        _core.base.reset_peak_memory()
        result = kd_loss(z.copy(), t, y, **kwargs)
        peak = _core.base.memory_stats()["peak_bytes"] - before
        assert peak <= limit * z.nbytes, kwargs
        del result


@pytest.mark.parametrize("classes", [10, 64, 100, 3000])
def test_confident_rows_keep_their_gradient(isa, classes):
    """p[y] - 1 without cancellation: rows whose label has all but 1e-6 of the probability."""
    z, t, y = logits(32, classes)
    z[np.arange(32), y] = 18
    check(z, t, y, alpha=1.0, tolerance=1e-6)  # 18 * 2^-24 from the logits' scale


@pytest.mark.parametrize("classes", [10, 100, 5000])
@pytest.mark.parametrize("offset", [-3e5, -300.0, 300.0, 3e5])
def test_large_offsets(isa, classes, offset):
    z, t, y = logits(9, classes, 2.0)
    check(z + np.float32(offset), t - np.float32(offset), y, alpha=0.4)


@pytest.mark.parametrize("classes", [10, 100, 3000])
def test_extreme_logits(isa, classes):
    """Beyond what the kernels can represent: rows are computed in double."""
    z, t, y = logits(6, classes)
    z[1, 2], t[2, 3] = 1e8, -1e30
    z[3] *= 1e6
    z[4], t[4] = -1e7, 1e7
    loss, gradient = kd_loss(z, t, y)
    expected, expected_gradient = formulas.kd(z, t, y)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


@pytest.mark.parametrize("classes", [10, 2100])
@pytest.mark.parametrize("position", ["first", "rising"])
def test_spikes_in_any_block(isa, classes, position):
    z, t, y = logits(5, classes)
    at = 0 if position == "first" else classes - 1
    z[:, at] += 60
    t[:, at] += 40
    check(z, t, y)
    check(z, t, y, temperature=1.5)


@pytest.mark.parametrize("classes", [10, 100, 2000])
def test_minus_infinity_is_probability_zero(isa, classes):
    z, t, y = logits(6, classes)
    keep = slice(0, classes // 2)
    z[:, classes // 2 :] = t[:, classes // 2 :] = -np.inf
    y %= classes // 2
    loss, gradient = kd_loss(z, t, y)
    expected, expected_gradient = kd_loss(z[:, keep].copy(), t[:, keep].copy(), y)
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient[:, keep], expected_gradient, atol=1e-7)
    assert (gradient[:, classes // 2 :] == 0).all()
    t[0, -1] = 0
    assert kd_loss(z, t, y)[0] == np.inf


@pytest.mark.parametrize("classes", [10, 100, 3000])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("who", ["student", "teacher"])
def test_bad_logits_are_named(isa, who, bad, classes):
    z, t, y = logits(21, classes)
    (z if who == "student" else t)[17, 5] = bad
    says = rf"kd_loss: {who} logits must be numbers below infinity, got {bad} in row 17, class 5"
    for alpha in (0.0, 0.5, 1.0):
        with pytest.raises(ValueError, match=says):
            kd_loss(z, t, y, alpha=alpha)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    classes=st.integers(2, 130),
    temperature=st.floats(0.3, 20),
    alpha=st.floats(0, 1),
    smoothing=st.floats(0, 0.9),
    scale=st.floats(0.01, 15),
    seed=st.integers(0, 2**32 - 1),
)
def test_kd_loss_anywhere(rows, classes, temperature, alpha, smoothing, scale, seed):
    z, t, y = logits(rows, classes, scale, seed)
    y[::3] = -100 if rows > 1 else y[0]
    options = {"temperature": temperature, "alpha": alpha, "label_smoothing": smoothing}
    if (y == -100).all():
        y[0] = 0
    loss, gradient = kd_loss(z, t, y, **options)
    expected, expected_gradient = formulas.kd(z, t, y, **options)
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-5 * max(1, temperature**2 / 16))
    # Relative to the larger of the two terms that may cancel each other.
    size = (1 - alpha) * temperature + alpha
    np.testing.assert_allclose(gradient, expected_gradient, atol=5e-7 * size)


@pytest.mark.parametrize("op", ["softened_sums", "softened_gradient", "kd_few_classes",
                                "softened_sums_without", "row_moments",
                                "widen_bfloat16"])  # fmt: skip
def test_kernels_equal_ref(op):
    """Row by row of the tables softened, few_classes and bfloat16."""
    variants = [r["variant"] for r in _core.base.kernels() if r["op"] == op and r["available"]]
    assert len(variants) >= 2
    for classes, dtype in ((10, np.float32), (1500, ml_dtypes.bfloat16)):
        z, t, y = logits(40, classes, 4.0)
        z[:8, 0], y[:8] = 20, 0
        z = z.astype(dtype)
        results = {}
        for variant in variants:
            _core.base.force_kernel("distillation", op, variant)
            results[variant] = [
                kd_loss(z, t, y, **kwargs)
                for kwargs in ({"label_smoothing": 0.1}, {"standardize": True}, {"temperature": 3})
            ]
        _core.base.force_kernel("distillation", op, "")
        for result in results.values():
            for (loss, gradient), (expected, reference) in zip(result, results["ref"], strict=True):
                assert loss == pytest.approx(expected, rel=1e-6)
                gradient, reference = np.float32(gradient), np.float32(reference)
                assert np.abs(gradient - reference).max() <= 1e-2 * np.abs(reference).max()


def test_layouts_and_types():
    z, t, y = logits(6, 10)
    loss, gradient = kd_loss(z, t, y)
    for other in (np.asfortranarray(z), np.float64(z), z.tolist(), np.repeat(z, 2, 1)[:, ::2]):
        again = kd_loss(other, t, y.astype(np.int32))
        assert again[0] == loss
        np.testing.assert_array_equal(again[1], gradient)
    assert kl_loss(z, t)[0] == kd_loss(z, t)[0] == kd_loss(z, t, alpha=1)[0]
    for rows, classes in ((0, 10), (0, 0)):
        loss, gradient = kd_loss(np.zeros((rows, classes)), np.zeros((rows, classes)))
        assert loss == 0
        assert gradient.shape == (rows, classes)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"teacher": np.zeros((4, 9))}, r"kd_loss: teacher must have 10 classes like the student"),
        ({"teacher": np.zeros((3, 10))}, r"teacher must have shape \(4, classes\), got \(3, 10\)"),
        ({"student": np.zeros(10)}, r"student must have 2 dimensions, got shape \(10,\)"),
        ({"labels": [0, 1, 10, 2]}, r"labels must be in \[0, 10\) or -100, got 10 in row 2"),
        ({"labels": [0, 1, -1, 2]}, r"labels must be in \[0, 10\) or -100, got -1 in row 2"),
        ({"labels": [0, 1]}, r"labels must have shape \(4,\), got \(2,\)"),
        ({"temperature": 0}, r"temperature must be finite and > 0, got 0"),
        ({"temperature": -1}, r"temperature must be finite and > 0, got -1"),
        ({"temperature": np.nan}, r"temperature must be finite and > 0, got nan"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        ({"alpha": -0.1}, r"alpha must be in \[0, 1\], got -0.1"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1"),
        ({"class_weights": [1.0] * 9}, r"class_weights must have shape \(10,\), got \(9,\)"),
        ({"class_weights": [-1.0] * 10}, r"class_weights must be finite and >= 0, got -1"),
        ({"class_weights": [0.0] * 10}, r"class_weights must be > 0 for a class that occurs"),
        ({"teacher_indices": np.zeros((4, 3), int)}, r"teacher_indices must have shape \(4, 10\)"),
        (
            {"teacher_indices": np.full((4, 2), 10), "teacher": np.zeros((4, 2))},
            r"teacher_indices must be in \[0, 10\), got 10 in row 0",
        ),
        (
            {"teacher_indices": np.full((4, 2), 3), "teacher": np.zeros((4, 2))},
            r"teacher_indices must be distinct in a row, got 3 twice in row 0",
        ),
        (
            {"teacher_indices": np.zeros((4, 11), int), "teacher": np.zeros((4, 11))},
            r"teacher_indices must be at most 10 in a row, got 11",
        ),
        (
            {"teacher_indices": np.zeros((4, 10), int), "standardize": True},
            r"standardize must be False with teacher_indices",
        ),
        ({"out": np.zeros((4, 9), np.float32)}, r"out must have shape \(4, 10\), got \(4, 9\)"),
        ({"out": np.zeros((4, 10), np.float32), "inplace": True}, r"out must be None with inplace"),
    ],
)
def test_kd_loss_rejects_values(kwargs, says):
    arguments = {"student": np.zeros((4, 10), np.float32), "teacher": np.zeros((4, 10)),
                 "labels": [0, 1, 2, 3]} | kwargs  # fmt: skip
    with pytest.raises(ValueError, match=says):
        kd_loss(arguments.pop("student"), arguments.pop("teacher"), **arguments)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"out": np.zeros((4, 10))},
        {"labels": [0.5, 1, 2, 3]},
        {"student": np.zeros((4, 10)), "inplace": True},
        {"student": [[0.0] * 10] * 4, "inplace": True},
    ],
)
def test_kd_loss_rejects_types(kwargs):
    arguments = {"student": np.zeros((4, 10), np.float32), "labels": [0, 1, 2, 3]} | kwargs
    with pytest.raises(TypeError, match="kd_loss: "):
        kd_loss(arguments.pop("student"), np.zeros((4, 10), np.float32), **arguments)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize("temperature", [31.0, 33.0, 1000.0])
def test_high_temperatures(isa, temperature, classes):
    """KL falls as 1 / T^2: what float32 leaves of it is not enough there."""
    z, t, y = logits(6, classes)
    y[2] = -100
    keep = y != -100
    for options in ({}, {"standardize": True}, {"alpha": 0.0, "label_smoothing": 0.1}):
        loss, gradient = kd_loss(z, t, y, temperature=temperature, **options)
        expected, truth = formulas.kd(z, t, y, temperature=temperature, **options)
        assert loss == pytest.approx(expected, rel=1e-6 if temperature > 32 else 3e-4)
        if not options.get("standardize"):
            np.testing.assert_allclose(gradient, truth, atol=3e-6)
    wide, wide_t = np.float64(z), np.float64(t)
    loss = dkd_loss(z[keep], t[keep], y[keep], temperature=temperature)[0]
    expected = formulas.dkd(wide[keep], wide_t[keep], y[keep], temperature=temperature)
    assert loss == pytest.approx(expected, rel=1e-6 if temperature > 32 else 1e-3)
    for beta in (0.0, 0.3, 1.0):
        loss = jsd_loss(z, t, beta=beta, temperature=temperature)[0]
        expected = formulas.jsd(wide, wide_t, beta=beta, temperature=temperature)
        assert loss == pytest.approx(expected, rel=1e-6 if temperature > 32 else 3e-3)
