"""PyTorch modules: the session gives what the module gives."""

from __future__ import annotations

import numpy as np
import pytest

import tersor

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests import architectures, exports  # noqa: E402

# The architectures of tersor.zoo are captured in tests/zoo.
NAMES = [
    "autoencoder",
    "transformer_torch",
    "transformer_plain",
    "conv1d",
    "decoder",
    "two_in_two_out",
]


@pytest.mark.parametrize("name", NAMES)
def test_session_equals_module(name):
    module, example = architectures.build(name)
    graph = tersor.from_torch(module, example)
    inputs = exports.inputs_of(name, 3)
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, inputs))
    result = tersor.Session(graph)(*inputs)
    if not isinstance(expected, tuple):
        expected, result = (expected,), (result,)
    for a, b in zip(result, expected, strict=True):
        assert np.abs(a - b.numpy()).max() <= 1e-4 * np.abs(b.numpy()).max()
    parameters = dict(module.named_parameters())
    weights = [e.origin for e in graph.edges if e.is_constant and e.origin.endswith("weight")]
    assert weights
    assert set(weights) <= set(parameters)


def test_mode_and_parameters_stay():
    module, example = architectures.build("resnet8")
    module.train()
    module.layer1.eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    tersor.from_torch(module, example)
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_names_and_open_batch():
    module, example = architectures.build("two_in_two_out")
    graph = tersor.from_torch(module, [e[:1] for e in example])  # a batch of one is opened too
    assert [e.name for e in graph.inputs] == ["image", "vector"]
    assert all(e.shape[0] is None for e in [*graph.inputs, *graph.outputs])


def test_fixed_batch():
    graph = tersor.from_torch(torch.nn.Linear(3, 2), torch.ones(4, 3), dynamic_batch=False)
    assert tuple(graph.inputs[0].shape) == (4, 3)


def test_outputs_have_the_keys_of_a_dict():
    class Heads(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 4)

        def forward(self, x):
            rest = {"boxes": self.b(x), "none": None, "both": [x + 1, x + 2]}
            return {"logits": self.a(x), "rest": rest}

    module, x = Heads(), torch.randn(2, 3)
    session = tersor.Session(tersor.from_torch(module, x))
    assert session.output_names == ("logits", "rest.boxes", "rest.both.0", "rest.both.1")
    expected = module(x)
    for got, want in zip(
        session(x)[:2], [expected["logits"], expected["rest"]["boxes"]], strict=True
    ):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_failed_capture_is_quiet(capfd):
    class Branches(torch.nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(tersor.UnsupportedError):
        tersor.from_torch(Branches(), torch.ones(2, 3))
    assert capfd.readouterr() == ("", "")


def test_errors():
    class Branches(torch.nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(tersor.UnsupportedError, match=r"torch\.export cannot capture Branches"):
        tersor.from_torch(Branches(), torch.ones(2, 3))
    with pytest.raises(
        tersor.UnsupportedError,
        match="operator Det, which is not supported; supported ONNX operators",
    ):
        tersor.from_torch(Determinant(), torch.ones(2, 3, 3))
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, got str"):
        tersor.from_torch("net.pt", torch.ones(1, 4))
    with pytest.raises(TypeError, match="or a sequence of tensors, got int"):
        tersor.from_torch(torch.nn.Linear(4, 2), 3)
    with pytest.raises(TypeError, match="example must be a tensor"):
        tersor.from_torch(torch.nn.Linear(3, 2), [[1, 2, 3]])
    with pytest.raises(ValueError, match="leading batch dimension"):
        tersor.from_torch(torch.nn.Identity(), torch.tensor(1.0))


class Determinant(torch.nn.Module):
    def forward(self, x):
        return torch.det(x)


class After(torch.nn.Module):
    """A function behind a linear layer."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = torch.nn.Linear(4, 4), function

    def forward(self, x):
        return self.function(self.linear(x))


MIXING = {
    "gram": lambda z: z @ z.T,
    "pairs": lambda z: (z[:, None] - z[None]).abs().sum(-1),
    "first": lambda z: z[:1],
    "divided by the batch": lambda z: z / z.shape[0],
    "times the batch": lambda z: z.sum(1) * z.size(0),
    "transposed": lambda z: z.T.reshape(-1, 4),
    "centred": lambda z: z - z.mean(0),
    "split": lambda z: torch.cat(z.chunk(2, 0)[::-1], 0),
}


@pytest.mark.parametrize("name", MIXING)
def test_modules_that_mix_samples_are_refused(name):
    with pytest.raises(tersor.UnsupportedError, match="mixes the samples of a batch"):
        tersor.from_torch(After(MIXING[name]).eval(), torch.randn(2, 4))


def check(module, *shape, batches=(1, 2, 5)):
    module.eval()
    session = tersor.Session(tersor.from_torch(module, torch.randn(2, *shape)))
    for batch in batches:
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(session(x.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_chunk_and_split():
    def shuffle(z):  # channel shuffle and gating
        a, b = z.chunk(2, 1)
        return torch.cat([b * torch.sigmoid(a), a], 1)

    check(After(shuffle), 4)
    check(After(lambda z: torch.cat(z.split(3, 1)[::-1], 1)), 4)
    check(After(lambda z: torch.cat(z.split([1, 2, 1], -1)[::-1], -1)), 4)
    check(After(lambda z: torch.cat(z.split(2, 2)[::-1], 2)), 3, 5, 4)


def test_scales_that_do_not_give_whole_sizes():
    for mode in ("bilinear", "nearest"):
        check(torch.nn.Upsample(scale_factor=1.5, mode=mode), 2, 9, 7)
    check(torch.nn.Upsample(scale_factor=1.5, mode="bilinear", align_corners=True), 2, 9, 7)


def test_reversed_features():
    check(After(lambda z: z.flip(1)), 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_modules_run_in_float32(dtype):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = module(x).detach().numpy()
    graph = tersor.from_torch(module.to(dtype), x.to(dtype))
    assert [e.dtype for e in (*graph.inputs, *graph.outputs)] == ["float32"] * 2
    result = tersor.Session(graph)(x.numpy())
    assert np.abs(result - expected).max() < 0.03  # the weights have 8 bits of mantissa or more
