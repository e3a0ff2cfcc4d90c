"""Standard convolutions rewritten as depthwise and pointwise ones."""

import numpy as np
import pytest

import tersor

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tersor.torch import SeparableConv, separable_errors, to_depthwise_separable  # noqa: E402


def product(layer):
    """The standard kernel for which a separable layer stands, in float64."""
    depthwise, pointwise = layer.depthwise, layer.pointwise
    d = depthwise.weight.detach().double().numpy()
    inputs = depthwise.groups
    d = d.reshape(inputs, -1, *d.shape[2:])
    p = pointwise.weight.detach().double().numpy().reshape(-1, inputs, d.shape[1])
    return np.einsum("oim,im...->oi...", p, d)


@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        (nn.Conv2d, {"kernel_size": 3, "padding": 1}, (2, 5, 9, 8)),
        (nn.Conv2d, {"kernel_size": 3, "stride": 2, "bias": False}, (1, 5, 9, 8)),
        (nn.Conv2d, {"kernel_size": (1, 5), "stride": (1, 2), "padding": (0, 2)}, (2, 5, 3, 11)),
        (nn.Conv2d, {"kernel_size": 3, "dilation": 2, "padding": "same"}, (2, 5, 9, 8)),
        (nn.Conv2d, {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, (2, 5, 9, 8)),
        (nn.Conv1d, {"kernel_size": 4, "stride": 2, "padding": 1}, (2, 5, 13)),
    ],
)
def test_separable_weights_stay(kind, options, shape):
    """A kernel that is an outer product for each input channel comes back exactly."""
    torch.manual_seed(0)
    conv = kind(5, 7, **options).double()
    point = torch.randn(7, 5, *[1] * (conv.weight.dim() - 2)).double()
    conv.weight.data = point * torch.randn(1, *conv.weight.shape[1:]).double()
    rewritten = to_depthwise_separable(conv)
    assert rewritten.weight_error < 1e-12
    assert rewritten.pointwise.bias is None or torch.equal(rewritten.pointwise.bias, conv.bias)
    assert rewritten.depthwise.bias is None
    x = torch.randn(shape).double()
    torch.testing.assert_close(rewritten(x), conv(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("multiplier", [1, 2, 4])
@pytest.mark.parametrize("outputs", [3, 16])
def test_least_squares_optimal(multiplier, outputs):
    """No pair can be nearer: the error is what the other singular values hold."""
    torch.manual_seed(1)
    conv = nn.Conv2d(6, outputs, 3).double()
    weight = conv.weight.detach().numpy()
    singular = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(6, outputs, 9), compute_uv=False)
    least = np.sqrt((singular[:, multiplier:] ** 2).sum() / (weight**2).sum())
    layer = to_depthwise_separable(conv, depth_multiplier=multiplier)
    error = np.linalg.norm(product(layer) - weight) / np.linalg.norm(weight)
    np.testing.assert_allclose([error, layer.weight_error], least, atol=1e-12)
    assert layer.depthwise.weight.shape == (6 * min(multiplier, outputs), 1, 3, 3)


def test_every_tap_makes_it_exact():
    conv = nn.Conv2d(4, 12, (1, 3)).double()
    layer = to_depthwise_separable(conv, depth_multiplier=9)
    assert layer.depthwise.out_channels == 12  # three taps are enough
    x = torch.randn(2, 4, 5, 6).double()
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-10, atol=1e-10)


class Nested(nn.Module):
    """Convolutions of every kind at several depths, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.ModuleDict(
            {
                "wide": nn.Conv2d(8, 8, 5, padding=2, bias=False),
                "point": nn.Conv2d(8, 8, 1),
                "grouped": nn.Conv2d(8, 8, 3, padding=1, groups=4),
            }
        )
        self.again = self.body["wide"]
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.again(self.body["wide"](x))
        x = self.body["grouped"](self.body["point"](x))
        return self.head(x.mean((2, 3)))


def test_nested_modules():
    torch.manual_seed(2)
    module = Nested().eval()
    module.body["wide"].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    rewritten = to_depthwise_separable(module)
    assert type(module.stem[0]) is nn.Conv2d
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert set(separable_errors(rewritten)) == {"stem.0", "body.wide"}
    assert rewritten.again is rewritten.body["wide"]
    assert type(rewritten.body["point"]) is type(rewritten.body["grouped"]) is nn.Conv2d
    assert not any(m.training for m in rewritten.modules())
    assert not rewritten.again.depthwise.weight.requires_grad
    assert rewritten.stem[0].depthwise.weight.requires_grad
    assert rewritten(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    # Nothing is shared with the original.
    own = {p.data_ptr() for p in module.parameters()}
    assert not own & {p.data_ptr() for p in rewritten.parameters()}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["stem.0"], {"body.wide"}),
        ("stem.*", {"body.wide"}),
        (["stem"], {"body.wide"}),
        (["body.w*", "again"], {"stem.0"}),
    ],
)
def test_exclude(exclude, left):
    assert set(separable_errors(to_depthwise_separable(Nested(), exclude=exclude))) == left


def test_norm_and_activation_between():
    torch.manual_seed(3)
    conv = nn.Conv2d(4, 6, 3, padding=1)
    plain = to_depthwise_separable(conv)
    layer = to_depthwise_separable(conv, norm=True)
    assert [name for name, _ in layer.named_children()] == ["depthwise", "norm", "pointwise"]
    x = torch.randn(2, 4, 5, 5)
    # Fresh BatchNorm divides by sqrt(1 + 1e-5) in eval mode.
    torch.testing.assert_close(layer.eval()(x), plain(x), rtol=1e-4, atol=1e-5)
    layer = to_depthwise_separable(conv, norm=True, activation=nn.ReLU6)
    names = [name for name, _ in layer.named_children()]
    assert names == ["depthwise", "norm", "activation", "pointwise"]
    assert layer(x).shape == conv(x).shape


def test_gradients_flow():
    torch.manual_seed(4)
    rewritten = to_depthwise_separable(Nested(), norm=True, activation=nn.ReLU)
    rewritten(torch.randn(4, 3, 8, 8)).square().mean().backward()
    for name, parameter in rewritten.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights(dtype):
    conv = nn.Conv2d(3, 4, 3, dtype=dtype)
    layer = to_depthwise_separable(conv)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert 0 < layer.weight_error < 1


def test_zero_weights():
    conv = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(conv.weight)
    layer = to_depthwise_separable(conv)
    assert layer.weight_error == 0
    assert not product(layer).any()


def test_imports_into_a_graph():
    pytest.importorskip("onnxscript")
    torch.manual_seed(5)
    module = to_depthwise_separable(Nested()).eval()
    graph = tersor.from_torch(module, torch.zeros(1, 3, 8, 8))
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(tersor.Session(graph)(x) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_copies_keep_the_error():
    import copy
    import pickle

    layer = to_depthwise_separable(nn.Conv2d(3, 4, 3))
    assert isinstance(layer, SeparableConv)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.weight_error == layer.weight_error
        x = torch.randn(1, 3, 4, 4)
        assert torch.equal(other(x), layer(x))


def test_errors():
    conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Module, got ndarray"):
        to_depthwise_separable(np.zeros(3))
    with pytest.raises(ValueError, match="depth_multiplier must be at least 1, got 0"):
        to_depthwise_separable(conv, depth_multiplier=0)
    with pytest.raises(TypeError, match=r"depth_multiplier must be an integer, got 1\.5"):
        to_depthwise_separable(conv, depth_multiplier=1.5)
    with pytest.raises(ValueError, match=r"module must have a convolution .*, got Linear"):
        to_depthwise_separable(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="exclude must name layers, got 'stam'"):
        to_depthwise_separable(Nested(), exclude=["stam"])
    with pytest.raises(ValueError, match=r"layer must be plain, got parametrized 0"):
        to_depthwise_separable(nn.Sequential(nn.utils.parametrizations.weight_norm(conv)))
    broken = nn.Sequential(nn.Conv2d(3, 4, 3))
    broken[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="weights must be finite, got 0"):
        to_depthwise_separable(broken)


class Standardized(nn.Conv2d):
    """Computes something else from its weights."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, w, self.bias, self.stride, self.padding)


def test_subclasses_stay():
    module = nn.Sequential(Standardized(3, 4, 3), nn.Conv2d(4, 4, 3), nn.LazyConv2d(2, 3))
    rewritten = to_depthwise_separable(module)
    assert list(separable_errors(rewritten)) == ["1"]
    assert type(rewritten[0]) is Standardized
    with pytest.raises(ValueError, match="module must have a convolution"):
        to_depthwise_separable(Standardized(3, 4, 3))


def test_layers_that_cannot_be_rewritten():
    from torch.nn.utils import prune, weight_norm

    pruned = nn.Conv2d(3, 4, 3)
    prune.l1_unstructured(pruned, "weight", 0.5)
    hooked = nn.Conv2d(3, 4, 3)
    hooked.register_forward_hook(lambda m, i, o: 2 * o)
    for layer, says in (
        (hooked, "layer must have no hooks, got forward hooks at 0"),
        (nn.Conv2d(3, 4, 3, device="meta"), "weights must be real numbers in memory"),
        (nn.Conv2d(3, 4, 3, dtype=torch.complex64), "weights must be real numbers in memory"),
    ):
        module = nn.Sequential(layer, nn.Conv2d(4, 4, 3))
        with pytest.raises(ValueError, match=says):
            to_depthwise_separable(module)
        assert list(separable_errors(to_depthwise_separable(module, exclude="0"))) == ["1"]
    with pytest.warns(FutureWarning):
        old = weight_norm(nn.Conv2d(3, 4, 3))
    for layer in (old, pruned):
        with pytest.raises(ValueError, match="weight must be a parameter, got a computed one at m"):
            to_depthwise_separable(layer)


def test_frozen_and_shared_parameters():
    module = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    module[0].bias.requires_grad_(False)
    module[1].weight, module[2].bias = module[0].weight, module[1].bias
    rewritten = to_depthwise_separable(module)
    assert not rewritten[0].pointwise.bias.requires_grad
    assert rewritten[1].pointwise.bias.requires_grad
    assert rewritten[1].depthwise.weight is rewritten[0].depthwise.weight
    assert rewritten[1].pointwise.weight is rewritten[0].pointwise.weight
    assert rewritten[2].depthwise.weight is not rewritten[0].depthwise.weight
    assert rewritten[2].pointwise.bias is rewritten[1].pointwise.bias
    with pytest.raises(ValueError, match="must not be shared with a layer that stays, got 1"):
        to_depthwise_separable(module, exclude="1")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_weights_that_are_zero_can_learn(multiplier, dtype):
    """An input channel without weights, and ranks beyond the true one."""
    torch.manual_seed(6)
    conv = nn.Conv2d(4, 8, 3, dtype=dtype)
    conv.weight.data[:, 1:] = torch.randn(8, 3, 1, 1, dtype=dtype) * torch.randn(3, 3, dtype=dtype)
    conv.weight.data[:, 0] = 0
    layer = to_depthwise_separable(conv, depth_multiplier=multiplier)
    assert layer.weight_error < 1e-6
    x = torch.randn(2, 4, 6, 6, dtype=dtype)
    torch.testing.assert_close(layer(x), conv(x))
    layer(x).square().sum().backward()
    assert (layer.pointwise.weight.grad.abs().sum(0) > 1e-3).all()
    with torch.no_grad():
        layer.pointwise.weight -= 0.01 * layer.pointwise.weight.grad
    layer(x).square().sum().backward()
    assert (layer.depthwise.weight.grad.abs().sum((1, 2, 3)) > 1e-3).all()
