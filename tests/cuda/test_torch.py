"""Modules of tersor.torch with tensors that the CUDA kernels take."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def device(cuda, monkeypatch):
    """Where tensors are put; in the emulation those of the host count as CUDA tensors."""
    from tersor.torch import cuda_loss, cuda_quantizer

    if not cuda.native.extension().emulated:
        return "cuda"
    floats = (torch.float32, torch.bfloat16)
    monkeypatch.setattr(cuda_loss, "takes", lambda x, *_: x.dtype in floats)
    monkeypatch.setattr(cuda_quantizer, "takes", lambda x: x.dtype == torch.float32)
    return "cpu"


def losses():
    from tersor import torch as modules

    yield modules.KDLoss(2.0, 0.3, 0.1), True
    yield modules.KDLoss(2.0, 0.3, class_weights=torch.rand(10) + 0.5), True
    yield modules.DKDLoss(), True
    yield modules.JSDLoss(0.4), True
    yield modules.MSELogitsLoss(), False
    yield modules.FeatureLoss(), False
    yield modules.RelationalLoss(), False


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_on_the_device_are_those_of_float64(device, dtype):
    generator = torch.Generator().manual_seed(0)
    for module, labelled in losses():
        if dtype not in getattr(module, "dtypes", (dtype,)):
            continue
        shape = (6, 10) if not labelled else (2, 3, 10)
        x, t = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
        y = torch.randint(0, 10, shape[:-1], generator=generator)
        arguments = (t.to(device), y.to(device)) if labelled else (t.to(device),)
        student = x.to(device, copy=True).requires_grad_()
        loss = module.to(device)(student, *arguments)
        (3 * loss).backward()
        exact = x.double().requires_grad_()
        wide = (t.double(), y) if labelled else (t.double(),)
        expected = module.double().to("cpu")(exact, *wide)
        (3 * expected).backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
        torch.testing.assert_close(
            student.grad.cpu().double(),
            exact.grad,
            rtol=1e-4 if dtype == torch.float32 else 2**-6,
            atol=1e-6 if dtype == torch.float32 else 2**-9 * float(exact.grad.abs().max()),
        )


def test_quantizers_on_the_device(device):
    from tersor.torch.fake_quantize import fake_quantize, learned_fake_quantize

    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    for scale, zero in (
        (torch.tensor(0.1), torch.tensor(3.0)),
        (torch.rand(6, 1) + 0.01, torch.zeros(())),
    ):
        for function in (fake_quantize, learned_fake_quantize):
            a = x.to(device, copy=True).requires_grad_()
            s = scale.to(device, copy=True).requires_grad_(function is learned_fake_quantize)
            y = function(a, s, zero.to(device), -8, 7)
            y.sum().backward()
            b = x.double().requires_grad_()
            s2 = scale.double().requires_grad_(function is learned_fake_quantize)
            z = function(b, s2, zero.double(), -8, 7)
            z.sum().backward()
            np.testing.assert_allclose(y.detach().cpu(), z.detach(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(a.grad.cpu(), b.grad)
            if s.grad is not None:
                np.testing.assert_allclose(s.grad.cpu(), s2.grad, rtol=1e-3, atol=1e-4)
