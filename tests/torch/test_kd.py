"""KDLoss and KLLoss: autograd, compile, autocast; the formula in PyTorch is the truth."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
functional = torch.nn.functional

from tersor.torch import KDLoss, KLLoss  # noqa: E402


def batch(rows=32, classes=10, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z, t = torch.randn((2, rows, classes), generator=generator).to(dtype)
    return z.requires_grad_(), t, torch.randint(classes, (rows,), generator=generator)


def formula(z, t, y, temperature=4.0, alpha=0.5, smoothing=0.0, weights=None):
    soft = functional.kl_div(
        torch.log_softmax(z / temperature, 1),
        torch.log_softmax(t / temperature, 1),
        log_target=True,
        reduction="batchmean",
    )
    hard = functional.cross_entropy(z, y, weights, label_smoothing=smoothing)
    return alpha * hard + (1 - alpha) * temperature**2 * soft


def gradient_of(loss, z, scale=1.0):
    return torch.autograd.grad(scale * loss, z)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0, 4.0])
@pytest.mark.parametrize("classes", [10, 200])
def test_kd_loss_equals_autograd(classes, temperature, weighted, smoothing):
    z, t, y = batch(classes=classes)
    weights = torch.rand(classes) + 0.1 if weighted else None
    module = KDLoss(temperature, 0.3, smoothing, class_weights=weights)
    loss = module(z, t, y)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    wide = z.detach().double().requires_grad_()
    weights = None if weights is None else weights.double()
    expected = formula(wide, t.double(), y, temperature, 0.3, smoothing, weights)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        gradient_of(loss, z, 3.0).double(), gradient_of(expected, wide, 3.0), rtol=1e-5, atol=1e-7
    )


def test_other_dtypes_take_the_same_formula():
    """Float64 runs in PyTorch operations, and they are right to second order."""
    z, t, y = batch(6, 5, torch.float64)
    y[2] = -100
    indices = t.topk(3).indices
    for module, arguments in (
        (KDLoss(), (t, y)),
        (KDLoss(2.0, 0.3, 0.1, class_weights=torch.rand(5) + 0.1), (t, y)),
        (KDLoss(standardize=True), (t, y)),
        (KDLoss(), (t,)),
        (KDLoss(), (t.gather(1, indices), y, indices)),
    ):
        assert torch.autograd.gradcheck(lambda x, m=module, a=arguments: m(x, *a), (z,))
        narrow = [a.float() if a.is_floating_point() else a for a in arguments]
        native = module(z.detach().float(), *narrow)
        torch.testing.assert_close(native.double(), module(z, *arguments), rtol=1e-5, atol=1e-6)
    half = KDLoss()(z.detach().half(), t.half(), y)
    torch.testing.assert_close(half.double(), KDLoss()(z, t, y), rtol=1e-2, atol=1e-3)


def test_backward_scales_and_accumulates():
    z, t, y = batch()
    expected = gradient_of(KDLoss()(z, t, y), z)
    loss = KDLoss()(z, t, y)
    loss.backward(retain_graph=True)
    loss.backward()
    torch.testing.assert_close(z.grad, 2 * expected)
    with pytest.raises(RuntimeError, match="retain_graph"):
        loss.backward()
    z.grad = None
    (KDLoss()(z, t, y) / 4).backward()
    torch.testing.assert_close(z.grad, expected / 4)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(KDLoss()(z, t, y), z, create_graph=True)


def test_no_gradient_wanted():
    z, t, y = batch()
    loss = KDLoss()(z, t, y)
    with torch.no_grad():
        assert KDLoss()(z, t, y) == loss
    assert not KDLoss()(z.detach(), t, y).requires_grad
    t.requires_grad_()
    assert not KDLoss()(z.detach(), t, y).requires_grad


def test_shapes_and_layouts():
    z, t, y = batch(24, 7)
    expected, gradient = KDLoss()(z, t, y), gradient_of(KDLoss()(z, t, y), z)
    deep = z.detach().view(2, 3, 4, 7).requires_grad_()
    loss = KDLoss()(deep, t.view(2, 3, 4, 7), y.view(2, 3, 4))
    assert loss == expected
    torch.testing.assert_close(gradient_of(loss, deep), gradient.view(2, 3, 4, 7))
    turned = z.detach().t().contiguous().requires_grad_()
    loss = KDLoss()(turned.t(), t, y.int())
    assert loss == expected
    torch.testing.assert_close(gradient_of(loss, turned), gradient.t())


def test_bfloat16_under_autocast():
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 10)
    x, t, y = torch.randn(32, 16), torch.randn(32, 10), torch.randint(10, (32,))
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(x)
        loss = KDLoss()(logits, t, y)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    wide = logits.detach().double().requires_grad_()
    expected = formula(wide, t.double(), y)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    gradient = gradient_of(expected, wide).float().t() @ x
    torch.testing.assert_close(layer.weight.grad, gradient, rtol=0.02, atol=0.002)


def test_kl_loss():
    z, t, y = batch()
    loss = KLLoss(3.0)(z, t)
    torch.testing.assert_close(loss, formula(z, t, y, 3.0, 0.0).detach())
    y[:5] = -100
    torch.testing.assert_close(KLLoss(3.0)(z, t, y), KLLoss(3.0)(z[5:], t[5:]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_and_exported():
    z, t, y = batch(16, 12)

    class Student(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loss = KDLoss(label_smoothing=0.1, class_weights=torch.ones(12))

        def forward(self, z, t, y):
            return 2 * self.loss(torch.tanh(z), t, y)

    student = Student()
    expected = student(z, t, y)
    compiled = torch.compile(student, fullgraph=True)(z, t, y)
    assert compiled == expected
    torch.testing.assert_close(gradient_of(compiled, z), gradient_of(expected, z))
    program = torch.export.export(student, (z, t, y))
    assert any("kd_loss" in str(node.target) for node in program.graph.nodes)
    assert program.module()(z, t, y) == expected


def test_operator_registrations():
    z, t, y = batch(4, 5)
    arguments = (z, t, y, None, None, 4.0, 0.5, 0.0, -100, False)
    torch.library.opcheck(
        torch.ops.tersor.kd_loss.default,
        arguments,
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": torch.zeros(4, 9)}, r"teacher must have shape \(4, 10\), got \(4, 9\)"),
        ({"labels": torch.tensor([0, 1, 10, 2])}, r"labels must be in \[0, 10\) or -100, got 10"),
        ({"labels": torch.zeros(5, dtype=torch.long)}, r"labels must have shape \(4,\), got"),
        ({"student": torch.zeros(10)}, r"student must have at least 2 dimensions"),
        ({"student": torch.full((4, 10), torch.nan)}, r"student logits must be numbers"),
    ],
)
def test_bad_input(change, says):
    arguments = {"student": torch.zeros(4, 10), "teacher": torch.zeros(4, 10)} | change
    with pytest.raises(ValueError, match=says):
        KDLoss()(**arguments)


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"alpha": 1.1}, {"alpha": -1}, {"label_smoothing": 1}]
)
def test_bad_options(options):
    with pytest.raises(ValueError, match=f"KDLoss: {next(iter(options))} must be"):
        KDLoss(**options)
    assert "temperature=4, alpha=0.5" in repr(KDLoss())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_class_weights_of_a_converted_module(dtype):
    """The buffer follows module.double() and the like; the kernel must not read it as float32."""
    z, t, y = batch(12, 3)
    weights = torch.tensor([1.0, 5.0, 0.5])
    module = KDLoss(alpha=1.0, class_weights=weights)
    expected = module(z, t, y)
    assert module.to(dtype)(z, t, y) == expected
    for other in (weights.double(), torch.tensor([2, 10, 1]), weights.repeat(2, 1).t()[:, 0]):
        module.class_weights = other
        torch.testing.assert_close(module(z, t, y), expected)
    module.class_weights = torch.ones(4)
    with pytest.raises(ValueError, match=r"class_weights must have shape \(3,\), got \(4,\)"):
        module(z, t, y)


def test_tensors_on_several_devices():
    z, t, y = batch(4, 5)
    indices = t.topk(2).indices
    for name, arguments in (
        ("labels", (t, y.to("meta"))),
        ("teacher", (t.to("meta"), y)),
        ("teacher_indices", (t[:, :2], y, indices.to("meta"))),
    ):
        with pytest.raises(ValueError, match=f"{name} must be on the student's device cpu, got me"):
            KDLoss()(z, *arguments)


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_labels_are_integers(kind):
    z, t, y = batch(4, 5)
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(TypeError, match=f"kd_loss: labels must be integers, got {kind}"):
            KDLoss()(z.to(dtype), t.to(dtype), y.to(kind))
    with pytest.raises(TypeError, match=r"teacher_indices must be integers, got torch\.fl"):
        KDLoss()(z, t[:, :2], y, torch.zeros(4, 2))
    with pytest.raises(TypeError, match=r"student must be floating-point numbers, got torch\.int"):
        KDLoss()(y.view(1, 4), t[:1, :4])


def test_fake_tensors_and_traced_graphs():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    for dtype in (torch.float32, torch.float64):
        with FakeTensorMode():
            loss = KDLoss()(torch.randn(4, 5, dtype=dtype), torch.randn(4, 5, dtype=dtype),
                            torch.zeros(4, dtype=torch.long))  # fmt: skip
        assert loss.shape == ()
        assert loss.dtype == dtype
    assert KDLoss()(torch.zeros(4, 5, device="meta"), torch.zeros(4, 5, device="meta")).is_meta
    z, t, y = (x.detach() for x in batch(4, 5))
    graph = make_fx(KDLoss())(z, t, y)
    assert graph(z + 1, t * 2, y) == KDLoss()(z + 1, t * 2, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(KDLoss(), (z, t, y))
    assert traced(z + 1, t * 2, y) == KDLoss()(z + 1, t * 2, y)


def test_function_transforms():
    """torch.func takes the formula: kernels have no rule for it."""
    z, t, y = batch(4, 5)
    expected = gradient_of(KDLoss()(z, t, y), z)
    module = KDLoss(class_weights=torch.ones(5))
    gradient = torch.func.grad(lambda x: module(x, t, y))(z.detach())
    torch.testing.assert_close(gradient, expected)
    many = torch.vmap(module, in_dims=(0, 0, 0))(z.detach().view(2, 2, 5), t.view(2, 2, 5),
                                                 y.view(2, 2))  # fmt: skip
    each = [KDLoss()(z[i : i + 2].detach(), t[i : i + 2], y[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(many, torch.stack(each))


def test_minus_infinity_in_the_formula():
    """Probability 0 in every dtype, with finite gradients."""
    z, t, y = (x.detach() for x in batch(6, 5))
    y = y % 4
    both = [x.masked_fill(torch.arange(5) == 4, -torch.inf) for x in (z, t)]
    for student, teacher in (both, (z, both[1]), (both[0], t)):
        for module in (KDLoss(), KDLoss(2.0, 0.0), KDLoss(alpha=1.0), KDLoss(label_smoothing=0.1)):
            expected = module(student, teacher, y)
            for dtype in (torch.float64, torch.float16):
                x = student.to(dtype).requires_grad_()
                loss = module(x, teacher.to(dtype), y)
                torch.testing.assert_close(loss.float(), expected, rtol=2e-3, atol=1e-3)
                if expected.isfinite():
                    assert gradient_of(loss, x).isfinite().all()
                    assert loss.dtype == (torch.float32 if dtype == torch.float16 else dtype)


def refused(module, arguments, dtype):
    """What it says."""
    arguments = [a.to(dtype) if a is not None and a.is_floating_point() else a for a in arguments]
    with pytest.raises(ValueError, match="kd_loss: ") as error:
        module(*arguments)
    return str(error.value)


Z = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
NAN = Z.masked_fill(torch.arange(20).view(4, 5) == 7, torch.nan)
EMPTY_ROW = Z.masked_fill(torch.arange(4).view(4, 1) == 2, -torch.inf)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (KDLoss(), (NAN, Z)),
        (KDLoss(), (Z, NAN.nan_to_num(torch.inf), torch.tensor([0, 1, 2, -100]))),
        (KDLoss(alpha=1.0), (Z, NAN, torch.tensor([0, 1, 2, -100]))),
        (KDLoss(), (EMPTY_ROW, Z)),
        (KDLoss(), (Z, Z, torch.tensor([0, 1, 5, 2]))),
        (KDLoss(), (Z, Z, torch.tensor([0, 1, -1, 2]))),
        (KDLoss(class_weights=torch.tensor([1, 1, -1, 1, 1.0])), (Z, Z, torch.arange(4))),
        (KDLoss(class_weights=torch.zeros(5)), (Z, Z, torch.arange(4))),
        (KDLoss(), (Z, Z[:, :2], None, torch.tensor([[0, 1]] * 3 + [[1, 5]]))),
        (KDLoss(), (Z, Z[:, :2], None, torch.tensor([[0, 1]] * 3 + [[3, 3]]))),
        (KDLoss(), (Z, Z.repeat(1, 2), None, torch.zeros(4, 10, dtype=torch.long))),
        (KDLoss(standardize=True), (Z, Z[:, :2], None, torch.tensor([[0, 1]] * 4))),
    ],
)
def test_the_formula_refuses_what_the_kernels_refuse(module, arguments):
    expected = refused(module, arguments, torch.float32)
    assert refused(module, arguments, torch.float64) == expected


def test_the_formula_takes_what_the_kernels_take():
    ignored = torch.tensor([0, -100, 2, 3])
    for module, arguments in (
        (KDLoss(), (Z[:0], Z[:0])),
        (KDLoss(), (Z[:0], Z[:0], ignored[:0])),
        (KDLoss(), (NAN, Z, ignored)),
        (KDLoss(), (Z, NAN, torch.full((4,), -100))),
        (KDLoss(alpha=0.0, class_weights=torch.zeros(5)), (Z, Z + 1, ignored)),
        (KDLoss(ignore_index=9), (Z, Z, torch.tensor([0, 9, 2, 9]))),
    ):
        expected = module(*arguments)
        assert expected.isfinite()
        x, *others = (a.double() if a.is_floating_point() else a for a in arguments)
        x.requires_grad_()
        loss = module(x, *others)
        torch.testing.assert_close(loss.float(), expected, atol=1e-6, rtol=1e-5)
        assert gradient_of(loss, x).isfinite().all()


@pytest.mark.parametrize("temperature", [20.0, 100.0, 1000.0])
def test_high_temperatures(temperature):
    z, t, y = batch(16, 10)
    for module in (KDLoss(temperature, 0.0), KDLoss(temperature, 0.5)):
        expected = module(z.double(), t.double(), y)
        torch.testing.assert_close(module(z, t, y).double(), expected, rtol=2e-4, atol=0)
