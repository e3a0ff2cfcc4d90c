"""Distillation kernels against those of the CPU, which are tested against PyTorch."""

import ml_dtypes
import numpy as np
import pytest

from tersor import distillation as cpu

BF16 = ml_dtypes.bfloat16
# A warp per row; a block per row; a block with tails; a cluster of blocks (73728 bytes a block).
SHAPES = [(5, 1), (7, 10), (3, 64), (4, 1001), (3, 1025), (2, 3000), (2, 20003)]


def logits(shape, dtype=np.float32, seed=0, spread=4.0):
    rng = np.random.default_rng(seed)
    x = [(spread * rng.normal(size=shape)).astype(dtype) for _ in range(2)]
    return x[0], x[1], rng.integers(0, shape[1], shape[0])


def check(result, expected, dtype=np.float32, temperature=1.0):
    loss, gradient = result
    wanted_loss, wanted = expected
    np.testing.assert_allclose(
        loss.numpy(), wanted_loss, rtol=3e-6, atol=1e-6 * temperature**2, equal_nan=True
    )
    # Differences of probabilities carry the rounding of probabilities, also where they are 0.
    scale = np.abs(wanted.astype(np.float64)).max(initial=2**-5)
    tolerance = 2**-7 if dtype == BF16 else 3e-5
    np.testing.assert_allclose(
        gradient.numpy().astype(np.float64),
        wanted.astype(np.float64),
        rtol=tolerance,
        atol=scale * (2**-8 if dtype == BF16 else 3e-6),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_kd_is_that_of_the_cpu(cuda, shape, dtype):
    from tersor.cuda import distillation

    z, t, y = logits(shape, dtype)
    y[0] = -100
    on_device = [cuda.array(a) for a in (z, t, y)]
    for options in (
        {"temperature": 4.0},
        {"temperature": 1.0, "alpha": 0.1},
        {"temperature": 2.0, "label_smoothing": 0.2},
        {"temperature": 3.0, "alpha": 0.9},
        {"temperature": 2.5, "alpha": 1.0, "standardize": True},
        {"temperature": 2.5, "alpha": 0.2, "standardize": True},
    ):
        check(
            distillation.kd_loss(*on_device, **options),
            cpu.kd_loss(z, t, y, **options),
            dtype,
            options["temperature"],
        )
    check(distillation.kl_loss(*on_device[:2]), cpu.kl_loss(z, t), dtype, 4.0)


@pytest.mark.parametrize("shape", [(7, 10), (3, 1030)], ids=str)
def test_kd_with_weights_and_top_classes(cuda, shape):
    from tersor.cuda import distillation

    z, t, y = logits(shape)
    w = np.random.default_rng(1).uniform(0, 2, shape[1]).astype(np.float32)
    options = {"label_smoothing": 0.1, "alpha": 0.7}
    check(
        distillation.kd_loss(
            cuda.array(z), cuda.array(t), cuda.array(y), class_weights=cuda.array(w), **options
        ),
        cpu.kd_loss(z, t, y, class_weights=w, **options),
        temperature=4.0,
    )
    indices = np.argsort(-t, axis=1)[:, :5].astype(np.int64)
    top = np.ascontiguousarray(np.take_along_axis(t, indices, 1))
    for dtype in (np.float32, BF16):
        check(
            distillation.kd_loss(
                *(cuda.array(a) for a in (z.astype(dtype), top, y)),
                teacher_indices=cuda.array(indices),
            ),
            cpu.kd_loss(z.astype(dtype), top, y, teacher_indices=indices),
            dtype,
            4.0,
        )


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_dkd_and_jsd_are_those_of_the_cpu(cuda, shape, dtype):
    from tersor.cuda import distillation

    z, t, y = logits(shape, dtype, 1)
    y[-1] = -100
    on_device = [cuda.array(a) for a in (z, t, y)]
    for temperature in (1.0, 4.0):
        check(
            distillation.dkd_loss(*on_device, temperature=temperature),
            cpu.dkd_loss(z, t, y, temperature=temperature),
            dtype,
            temperature,
        )
        for beta in (0.0, 0.3, 1.0):
            check(
                distillation.jsd_loss(*on_device, temperature=temperature, beta=beta),
                cpu.jsd_loss(z, t, y, temperature=temperature, beta=beta),
                dtype,
                temperature,
            )


@pytest.mark.parametrize("classes", [16, 2000])
def test_extreme_logits(cuda, classes):
    from tersor.cuda import distillation

    z, t, y = logits((6, classes), seed=3)
    z[0] += 1000
    t[1] -= 3000
    z[2, :7] = -np.inf
    t[2, :9] = -np.inf
    z[3, y[3]] = 80  # a label that holds all of the probability
    t[3, y[3]] = 90
    z[4] = -1e9
    z[4, y[4]] = 5
    t[4, 0] = -np.inf
    y[2] = 12
    for name in ("kd_loss", "dkd_loss"):
        result = getattr(distillation, name)(*(cuda.array(a) for a in (z[:4], t[:4], y[:4])))
        check(result, getattr(cpu, name)(z[:4], t[:4], y[:4]), temperature=4.0)
    bad = z.copy()
    bad[1, 3] = np.nan
    assert np.isnan(distillation.kd_loss(*(cuda.array(a) for a in (bad, t, y)))[0].numpy())
    labels = y.copy()
    labels[2] = classes
    assert np.isnan(distillation.kd_loss(*(cuda.array(a) for a in (z, t, labels)))[0].numpy())
    ignored = np.full(6, -100)
    loss, gradient = distillation.kd_loss(*(cuda.array(a) for a in (bad, t, ignored)))
    assert loss.numpy() == 0
    assert not gradient.numpy().any()


def test_gradient_over_the_logits(cuda):
    from tersor.cuda import distillation

    for classes in (10, 1500):
        z, t, y = logits((4, classes))
        expected = distillation.kd_loss(cuda.array(z), cuda.array(t), cuda.array(y))[1].numpy()
        over = cuda.array(z)
        _, gradient = distillation.kd_loss(over, cuda.array(t), cuda.array(y), inplace=True)
        assert gradient is over
        np.testing.assert_array_equal(gradient.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_feature_losses_are_those_of_the_cpu(cuda, dtype):
    from tersor.cuda import distillation

    rng = np.random.default_rng(0)
    for shape in ((0, 3), (3,), (5, 7, 11), (64, 100)):
        x, y = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        check(
            distillation.feature_loss(cuda.array(x), cuda.array(y)), cpu.feature_loss(x, y), dtype
        )
    for last in (False, True):
        x = rng.normal(size=(3, 5, 4, 6)).astype(dtype)
        y = rng.normal(size=(3, 5, 4, 9) if last else (3, 8, 4, 6)).astype(dtype)
        check(
            distillation.attention_loss(cuda.array(x), cuda.array(y), channels_last=last),
            cpu.attention_loss(x, y, channels_last=last),
            dtype,
        )


@pytest.mark.parametrize("weights", [(1.0, 2.0), (0.0, 1.0), (3.0, 0.0)])
def test_relational_is_that_of_the_cpu(cuda, weights):
    from tersor.cuda import distillation

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(13, 6)).astype(np.float32), rng.normal(size=(13, 9)).astype(np.float32)
    x[3] = x[5]
    options = {"distance": weights[0], "angle": weights[1]}
    check(
        distillation.relational_loss(cuda.array(x), cuda.array(y), **options),
        cpu.relational_loss(x, y, **options),
    )


def test_shapes_are_checked(cuda):
    from tersor.cuda import distillation

    z, t, y = (cuda.array(a) for a in logits((4, 10)))
    with pytest.raises(ValueError, match=r"kd_loss: labels must have shape \(4,\)"):
        distillation.kd_loss(z, t, cuda.array(np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match="kd_loss: temperature must be finite and > 0, got 0"):
        distillation.kd_loss(z, t, y, temperature=0)
    with pytest.raises(TypeError, match="labels must be int64, got int32"):
        distillation.kd_loss(z, t, cuda.array(np.zeros(4, np.int32)))
