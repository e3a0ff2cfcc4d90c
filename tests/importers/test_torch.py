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
