"""Fake quantization as tensors and modules: values, straight-through and learned gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.torch.fake_quantize import (
    ActivationQuantizer,
    WeightQuantizer,
    fake_quantize,
    learned_fake_quantize,
)
from tersor.torch.native_quantizer import native_quantizer


def truth(x, scale, zero, low, high):
    """In float32 steps, as the contract of quantize_affine says."""
    codes = np.clip(np.rint(x / scale) + zero, low, high)
    return ((codes - zero) * scale).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 8), st.integers(0, 70), st.booleans())
def test_values_equal_the_rounding_of_quantize(seed, bits, size, symmetric):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=size) * rng.choice([1e-3, 1, 50])).astype(np.float32)
    high = 2 ** (bits - 1) - 1
    low = -high if symmetric else -high - 1
    zero = 0 if symmetric else int(rng.integers(low, high + 1))
    scale = np.float32(rng.uniform(0.01, 0.5))
    y = fake_quantize(
        torch.from_numpy(x), torch.tensor(scale), torch.tensor(float(zero)), low, high
    )
    np.testing.assert_array_equal(y.numpy(), truth(x, scale, zero, low, high))


@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (4, 1), (1, 7)])
def test_channels(shape):
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype(np.float32)
    scale = rng.uniform(0.1, 1, (shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    y = fake_quantize(torch.from_numpy(x), torch.from_numpy(scale), torch.tensor(0.0), -7, 7)
    np.testing.assert_array_equal(y.numpy(), truth(x, scale, 0, -7, 7))


def test_gradient_passes_where_the_code_is_not_clamped():
    x = torch.tensor([-9.0, -0.3, 0.2, 1.76, 9.0], requires_grad=True)
    fake_quantize(x, torch.tensor(0.25), torch.tensor(0.0), -8, 7).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("zero", [0.0, -3.0])
def test_learned_gradients_are_those_of_the_smooth_formula(zero):
    """LSQ: rounding counts as the identity; the rest is differentiated, here by differences."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=200).astype(np.float64) * 2
    low, high, s = -8, 7, 0.31
    x = x[np.abs(x / s + zero - low) > 0.6]  # the limits themselves have no derivative
    x = x[np.abs(x / s + zero - high) > 0.6]
    noise = np.rint(x / s) - x / s  # held, as straight-through does

    def smooth(x, s, z):
        return s * (np.clip(x / s + noise + z, low, high) - z)

    weights = rng.normal(size=x.size)
    t = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    scale = torch.tensor(s, requires_grad=True)
    zero_point = torch.tensor(zero, requires_grad=True)
    y = learned_fake_quantize(t, scale, zero_point, low, high)
    (y * torch.tensor(weights, dtype=torch.float32)).sum().backward()
    step = 1e-6
    factor = (x.size * high) ** -0.5
    d_scale = ((smooth(x, s + step, zero) - smooth(x, s - step, zero)) / (2 * step)) @ weights
    d_zero = ((smooth(x, s, zero + step) - smooth(x, s, zero - step)) / (2 * step)) @ weights
    d_x = (smooth(x + step, s, zero) - smooth(x - step, s, zero)) / (2 * step) * weights
    np.testing.assert_allclose(scale.grad.item(), factor * d_scale, rtol=1e-4)
    np.testing.assert_allclose(zero_point.grad.item(), factor * d_zero, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(t.grad.numpy(), d_x, rtol=1e-4, atol=1e-5)


def test_empty_and_not_contiguous():
    assert (
        fake_quantize(torch.empty(0, 3), torch.tensor(1.0), torch.tensor(0.0), -8, 7).numel() == 0
    )
    x = torch.randn(4, 6).t()
    y = fake_quantize(x, torch.tensor(0.1), torch.tensor(0.0), -128, 127)
    np.testing.assert_array_equal(y.numpy(), truth(x.numpy(), np.float32(0.1), 0, -128, 127))


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 2.0), (0.5, 3.0), (-4.0, -1.0), (0.0, 0.0)])
def test_activation_parameters_are_the_native_ones(lo, hi):
    quantizer = ActivationQuantizer()
    quantizer.train()
    quantizer(torch.tensor([lo, hi]))
    expected = tersor.quantization.choose_qparams(
        np.array([lo, hi], np.float32), bits=8, symmetric=False
    )
    found = quantizer.qparams()
    np.testing.assert_array_equal(found.scale, expected.scale)
    np.testing.assert_array_equal(found.zero_point, expected.zero_point)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_scales_are_the_native_ones(bits):
    w = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)
    w[2] = 0  # takes the median of the others
    quantizer = WeightQuantizer(6, bits=bits)
    expected = tersor.quantization.choose_qparams(w, bits=bits, symmetric=True, axis=0)
    scale = quantizer.scale_of(torch.from_numpy(w))
    np.testing.assert_array_equal(scale.numpy(), expected.scale)


def test_learned_weights_start_with_less_error_than_the_full_range():
    torch.manual_seed(0)
    w = torch.randn(8, 100)
    error = [
        (WeightQuantizer(8, bits=4, learned=learned)(w) - w).square().mean().item()
        for learned in (False, True)
    ]
    assert error[1] < 0.9 * error[0]


def test_range_is_a_mean_at_first_then_a_moving_average():
    quantizer = ActivationQuantizer(momentum=0.25)
    quantizer.train()
    for hi in (1.0, 3.0, 5.0):
        quantizer(torch.tensor([0.0, hi]))
    assert quantizer.hi.item() == pytest.approx(3.0)
    for _ in range(2):
        quantizer(torch.tensor([0.0, 7.0]))
    assert quantizer.hi.item() == pytest.approx(4.75)


def test_refusals():
    with pytest.raises(ValueError, match=r"FakeQuantize: bits must be in \[2, 8\], got 9"):
        WeightQuantizer(3, bits=9)
    with pytest.raises(ValueError, match="ActivationQuantizer: momentum must be in"):
        ActivationQuantizer(momentum=0)
    with pytest.raises(RuntimeError, match="a range is needed"):
        ActivationQuantizer().qparams()


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_kernels_agree_with_the_formula(learned, channels, last):
    """The kernels take dense float32 on the CPU; float64 and gaps in memory take the formula."""
    torch.manual_seed(3)
    x = torch.randn(6, 5, 4, 3) * 2
    x = x.to(memory_format=torch.channels_last) if last else x
    scale = torch.rand(6, 1, 1, 1) + 0.1 if channels else torch.tensor(0.2)
    dy = torch.randn(6, 5, 4, 3)
    function = learned_fake_quantize if learned else fake_quantize
    results = []
    for gaps in (False, True):
        t = torch.stack([x, x], -1)[..., 0] if gaps else x.clone()
        assert (native_quantizer(t, scale, torch.tensor(1.0), -8, 7) is None) == gaps
        t.requires_grad_()
        s = scale.clone().requires_grad_(learned)
        z = torch.tensor(1.0, requires_grad=learned)
        y = function(t, s, z, -8, 7)
        (y * dy).sum().backward()
        results.append((y.detach(), t.grad, s.grad, z.grad))
    (y, dx, ds, dz), (y2, dx2, ds2, dz2) = results
    assert torch.equal(y, y2)
    assert torch.equal(dx, dx2)
    if learned:
        torch.testing.assert_close(ds, ds2, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dz, dz2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zero", [0.0, 3.0, -8.0])
@pytest.mark.parametrize("learned", [False, True])
def test_kernels_agree_with_the_formula_at_the_border(learned, zero):
    """Every half step, so also each limit and where codes begin to be clamped; NaN, infinities."""
    steps = torch.arange(-60, 61) / 4
    x = torch.cat([steps * 0.25, torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 3e38])])
    dy = torch.linspace(-1, 2, len(x))
    results = []
    for function in (*FORMS[learned],):
        t = x.clone().requires_grad_()
        s = torch.tensor(0.25, requires_grad=learned)
        z = torch.tensor(zero, requires_grad=learned)
        y = function(t, s, z, -8, 7)
        y.backward(dy)
        results.append((y.detach(), t.grad, s.grad, z.grad))
    native, formula = results
    assert torch.equal(native[0], formula[0])
    assert torch.equal(native[1], formula[1])
    if learned:
        torch.testing.assert_close(native[2], formula[2], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(native[3], formula[3], rtol=1e-5, atol=1e-5)


FORMS = {
    False: (fake_quantize, lambda *a: torch.ops.tersor.fake_quantize(*a)[0]),
    True: (learned_fake_quantize, torch.ops.tersor.learned_fake_quantize),
}


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_an_overflow_does_not_stay_in_the_range(bad):
    quantizer = ActivationQuantizer(8)
    quantizer.observe(torch.tensor([1.0, bad]))
    assert not quantizer.is_calibrated
    quantizer.observe(torch.tensor([-1.0, 3.0]))
    quantizer.observe(torch.tensor([-5.0, bad]))
    assert (float(quantizer.lo), float(quantizer.hi)) == (-1.0, 3.0)
