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


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_jsd_of_confident_logits(dtype, beta):
    """The mixture is summed in logarithms: its probabilities may vanish."""
    t = torch.tensor([[60.0, 0.0, -60.0]], dtype=dtype)
    z = torch.tensor([[-60.0, 0.0, 60.0]], dtype=dtype, requires_grad=True)
    assert JSDLoss(beta)(t, t).abs() < 1e-6
    loss = JSDLoss(beta)(z, t)
    # Disjoint distributions: the entropy of the mixture's weights.
    b = torch.tensor(beta).double()
    entropy = -(torch.xlogy(b, b) + torch.xlogy(1 - b, 1 - b))
    expected = torch.tensor(120.0) if beta in (0, 1) else entropy
    torch.testing.assert_close(loss.double(), expected.double(), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.isfinite().all()


Z = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
NAN = Z.masked_fill(torch.arange(20).view(4, 5) == 7, torch.nan)
Y = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("module", [DKDLoss(), JSDLoss(), JSDLoss(0.0), JSDLoss(1.0)])
def test_minus_infinity_in_the_formula(module):
    last = torch.arange(5) == 4
    both = [x.masked_fill(last, -torch.inf) for x in (Z, Z * 2)]
    for student, teacher in (both, (Z, both[1]), (both[0], Z)):
        expected = module(student, teacher, Y)
        for dtype in (torch.float64, torch.float16):
            x = student.to(dtype).requires_grad_()
            loss = module(x, teacher.to(dtype), Y)
            torch.testing.assert_close(loss.float(), expected, rtol=2e-3, atol=1e-3)
            if expected.isfinite():
                assert torch.autograd.grad(loss, x)[0].isfinite().all()


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (DKDLoss(), (NAN, Z, Y)),
        (DKDLoss(), (Z, Z, Y + 2)),
        (DKDLoss(), (Z[:, :1], Z[:, :1], Y * 0)),
        (JSDLoss(), (Z, NAN)),
        (JSDLoss(), (Z, Z, Y + 2)),
        (MSELogitsLoss(), (NAN, Z)),
        (AttentionLoss(), (Z.view(2, 2, 5), NAN.view(2, 2, 5))),
        (RelationalLoss(), (NAN, Z)),
    ],
)
def test_the_formula_refuses_what_the_kernels_refuse(module, arguments):
    says = []
    for dtype in (torch.float32, torch.float64):
        wide = [a.to(dtype) if a.is_floating_point() else a for a in arguments]
        with pytest.raises(ValueError, match="_loss: ") as error:
            module(*wide)
        says.append(str(error.value))
    assert says[0].split(": ")[1].startswith(says[1].split(": ")[1])


def test_the_formula_takes_empty_batches():
    for module, shape in (
        (DKDLoss(), (0, 5)),
        (JSDLoss(), (0, 5)),
        (MSELogitsLoss(), (0, 5)),
        (AttentionLoss(), (0, 3, 4)),
        (RelationalLoss(), (0, 5)),
    ):
        labels = [torch.zeros(0, dtype=torch.long)] if isinstance(module, DKDLoss) else []
        for dtype in (torch.float32, torch.float64):
            x = torch.zeros(shape, dtype=dtype)
            assert module(x, x, *labels) == 0


def test_changed_attributes_count():
    for first, second in (
        (DKDLoss(2.0, 0.5, 3.0, ignore_index=1), DKDLoss()),
        (JSDLoss(0.2, 3.0, ignore_index=1), JSDLoss()),
        (RelationalLoss(0.5, 3.0), RelationalLoss()),
        (AttentionLoss(channels_last=True), AttentionLoss()),
    ):
        second.__dict__.update({k: v for k, v in vars(first).items() if not k.startswith("_")})
        assert repr(first) == repr(second)
        arguments = (Z, Z * 2, Y) if hasattr(first, "ignore_index") else (Z, Z * 2)
        if isinstance(first, AttentionLoss):
            arguments = (Z.view(2, 2, 5), Z.flip(0).view(2, 2, 5))
        assert first(*arguments) == second(*arguments)


def test_labels_of_the_wrong_kind():
    for dtype in (torch.float32, torch.float64):
        z = Z.to(dtype)
        with pytest.raises(TypeError, match="dkd_loss: labels must be a tensor of classes, got No"):
            DKDLoss()(z, z, None)
        with pytest.raises(TypeError, match=r"jsd_loss: labels must be integers, got torch\.flo"):
            JSDLoss()(z, z, Y + 0.5)
    with pytest.raises(ValueError, match="labels must be on the student's device cpu, got meta"):
        DKDLoss()(Z, Z, Y.to("meta"))
    with pytest.raises(TypeError, match="teacher must be floating-point numbers"):
        MSELogitsLoss()(Z, Z.int())


@pytest.mark.parametrize(("module", "shapes", "labels"), CASES)
def test_captured_and_transformed(module, shapes, labels):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    z, t = (x.float() for x in tensors(*shapes))
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in (z, t, *labels)]
        assert module(*fakes).shape == ()
    assert module(*fakes).shape == ()
    assert make_fx(module)(z, t, *labels)(z * 2, t, *labels) == module(z * 2, t, *labels)
    x = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(x, t, *labels), x)
    gradient = torch.func.grad(lambda x: module(x, t, *labels))(z)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    torch.vmap(lambda a, b: module(a, b, *labels))(torch.stack([z, z]), torch.stack([t, t]))
