"""The other loss modules against the same formulas in float64, which take PyTorch operations."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tersor.torch import (  # noqa: E402
    AttentionLoss,
    DKDLoss,
    FeatureLoss,
    JSDLoss,
    MSELogitsLoss,
    RelationalLoss,
)


def tensors(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


LABELS = torch.tensor([0, 3, 2, -100, 4, 4])
CASES = [
    (DKDLoss(), ((6, 5), (6, 5)), (LABELS,)),
    (DKDLoss(2.0, 0.5, 1.0), ((2, 3, 5), (2, 3, 5)), (LABELS.view(2, 3),)),
    (JSDLoss(), ((6, 5), (6, 5)), ()),
    (JSDLoss(0.1, 2.0), ((6, 5), (6, 5)), (LABELS,)),
    (JSDLoss(0.0, 3.0), ((6, 5), (6, 5)), (LABELS,)),
    (JSDLoss(1.0), ((6, 5), (6, 5)), ()),
    (MSELogitsLoss(), ((6, 5), (6, 5)), ()),
    (FeatureLoss(), ((2, 3, 4, 4), (2, 3, 4, 4)), ()),
    (AttentionLoss(), ((2, 3, 4, 4), (2, 5, 4, 4)), ()),
    (AttentionLoss(channels_last=True), ((2, 4, 4, 3), (2, 4, 4, 5)), ()),
    (RelationalLoss(), ((6, 4), (6, 7)), ()),
]


@pytest.mark.parametrize(("module", "shapes", "labels"), CASES)
def test_kernels_equal_autograd(module, shapes, labels):
    z, t = tensors(*shapes)
    z.requires_grad_()
    expected = module(z, t, *labels)
    (gradient,) = torch.autograd.grad(expected, z)
    assert torch.autograd.gradcheck(lambda x: module(x, t, *labels), (z,))
    narrow = z.detach().float().requires_grad_()
    loss = module(narrow, t.float(), *labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    (native,) = torch.autograd.grad(3 * loss, narrow)
    size = gradient.abs().max().item()
    torch.testing.assert_close(native.double(), 3 * gradient, rtol=1e-5, atol=1e-5 * size)
    with torch.no_grad():
        assert module(narrow, t.float(), *labels) == loss
    half = module(narrow.bfloat16(), t.bfloat16(), *labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), expected, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(("module", "shapes", "labels"), CASES[::3])
def test_operator_registrations(module, shapes, labels):
    z, t = (x.float() for x in tensors(*shapes))
    labels = labels[0] if labels else None
    torch.library.opcheck(
        torch.ops.tersor.distillation_loss.default,
        (z.requires_grad_(), t, labels, module.name, list(module.numbers)),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_exported():
    class Losses(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = DKDLoss(), JSDLoss()

        def forward(self, z, t, y):
            return self.first(z, t, y) + self.second(z, t, y)

    z, t = (x.float() for x in tensors((6, 5), (6, 5)))
    module = Losses()
    program = torch.export.export(module, (z, t, LABELS))
    targets = [str(node.target) for node in program.graph.nodes]
    assert sum("distillation_loss" in target for target in targets) == 2
    torch.testing.assert_close(program.module()(z, t, LABELS), module(z, t, LABELS))


def test_projection_is_learned():
    x, y = (a.float() for a in tensors((4, 3, 5, 5), (4, 6, 5, 5)))
    loss = FeatureLoss(3, 6)
    assert [p.shape for p in loss.parameters()] == [(6, 3)]
    optimizer = torch.optim.SGD(loss.parameters(), 1.0)
    first = loss(x, y)
    for _ in range(20):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    assert loss(x, y) < first
    with pytest.raises(ValueError, match="must be given together"):
        FeatureLoss(3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: DKDLoss(0), "DKDLoss: temperature must be finite and > 0, got 0"),
        (lambda: DKDLoss(alpha=-1), "DKDLoss: alpha must be finite and >= 0, got -1"),
        (lambda: JSDLoss(2), "JSDLoss: beta must be in"),
        (lambda: JSDLoss(temperature=-1), "JSDLoss: temperature must be finite and > 0"),
        (lambda: RelationalLoss(-1), "RelationalLoss: distance must be finite and >= 0"),
        (lambda: JSDLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), "must have one shape"),
        (
            lambda: DKDLoss()(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0])),
            "labels must have shape",
        ),
        (
            lambda: DKDLoss()(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 3])),
            r"labels must be in \[0, 3\)",
        ),
        (lambda: MSELogitsLoss()(torch.zeros(2, 3), torch.zeros(3, 3)), "teacher must have shape"),
        (lambda: AttentionLoss()(torch.zeros(2, 3), torch.zeros(2, 3)), "equal samples and pos"),
        (lambda: RelationalLoss()(torch.zeros(2, 3), torch.zeros(3, 3)), "equal samples"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
