"""Networks as PyTorch modules: what the session computes, with parameters that can be trained."""

import copy
import pickle

import numpy as np
import pytest

import tersor
from tests import datasets
from tests.compress.networks import decibels, images, residual

torch = pytest.importorskip("torch")

from tersor.quantization import dequantize  # noqa: E402
from tersor.torch import NetworkModule, to_torch  # noqa: E402


def run(module, *inputs):
    with torch.no_grad():
        return module(*(torch.from_numpy(x) for x in inputs)).numpy()


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "w8a32", "w4a32", "w3a32"])
def test_float_activations(recipe):
    x = images(5)
    model = tersor.compress(residual(), recipe=recipe)
    module = model.to_torch()
    assert isinstance(module, NetworkModule)
    np.testing.assert_allclose(run(module, x), tersor.Session(model)(x), rtol=1e-4, atol=1e-4)


def test_dynamic_int8():
    model = tersor.compress(residual(), recipe="int8-dynamic")
    x = images(5)
    np.testing.assert_allclose(
        run(model.to_torch(), x), tersor.Session(model)(x), rtol=1e-3, atol=1e-3
    )


def test_int8_activations_are_rounded_in_float():
    x = images(16)
    model = tersor.compress(residual(), calibration=images())
    got, wanted = run(model.to_torch(), x), tersor.Session(model)(x)
    assert decibels(wanted, got) > 30  # codes of a later layer may differ by one


def test_parameters_have_the_names_of_the_source():
    model = tersor.compress(residual(), recipe="w4a32")
    module = model.to_torch()
    parameters = dict(module.named_parameters())
    names = {"stem", "inner", "outer", "fc"}
    assert set(parameters) == {f"{n}.{p}" for n in names for p in ("weight", "bias")}
    edge = model.graph.edge("stem.weight")
    np.testing.assert_array_equal(
        parameters["stem.weight"].detach(), dequantize(edge.constant, edge.qparams)
    )
    assert module.origins["stem.weight"] == "stem.weight"


@pytest.mark.parametrize("recipe", ["w4a32", "int8"])
def test_it_can_be_trained(recipe):
    module = tersor.compress(residual(), recipe=recipe, calibration=images()).to_torch()
    loss = module(torch.from_numpy(images(4))).square().mean()
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_is_copied_saved_and_restored(tmp_path):
    x = images(2)
    module = tersor.compress(residual(), calibration=images()).to_torch()
    wanted = run(module, x)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        np.testing.assert_array_equal(run(twin, x), wanted)
    other = to_torch(tersor.compress(residual(), calibration=images()))
    other.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(run(other, x), wanted)


def test_names_that_modules_cannot_have():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 2))
    for name in ("model/fc:0", "forward", "a.b", "a"):
        w = graph.add_constant(name, np.eye(2, dtype=np.float32), name)
        x = graph.add_node("dense", [x, w])
    graph.set_outputs([x])
    module = to_torch(graph)
    assert sorted(module.origins.values()) == ["a", "a.b", "forward", "model/fc:0"]
    np.testing.assert_array_equal(run(module, np.float32([[1, 2]])), [[1, 2]])


def test_operators_agree_with_the_session():
    graph = tersor.Graph()
    rng = np.random.default_rng(0)
    x = graph.add_input("x", "float32", (None, 4, 7, 9))

    def constant(*shape):
        return graph.add_constant("", rng.normal(size=shape).astype(np.float32))

    y = graph.add_node("pad", [x], {"pads": [0, 0, 1, 2, 0, 0, 3, -1], "mode": "reflect"})
    y = graph.add_node("pad", [y], {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "mode": "edge"})
    y = graph.add_node(
        "conv", [y, constant(6, 2, 3, 3), constant(6)], {"groups": 2, "pads": [1, 0, 0, 2]}
    )
    y = graph.add_node("max_pool", [y], {"kernel": [3, 2], "strides": [2, 2], "ceil_mode": 1})
    y = graph.add_node("avg_pool", [y], {"kernel": [2, 2], "pads": [1, 1, 1, 1]})
    y = graph.add_node("resize", [y], {"sizes": [5, 6], "mode": "linear"})
    y = graph.add_node(
        "conv_transpose",
        [y, constant(6, 3, 3, 3), constant(3)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    )
    y = graph.add_node("transpose", [y], {"perm": [0, 2, 3, 1]})
    y = graph.add_node("layer_norm", [y, constant(3), constant(3)])
    indices = graph.add_constant("indices", np.array([2, 0, -1]))
    y = graph.add_node("gather", [y, indices], {"axis": 3})
    y = graph.add_node("slice", [y], {"axes": [1], "starts": [1], "ends": [99], "steps": [2]})
    y = graph.add_node("softmax", [y], {"axis": 3})
    y = graph.add_node("concat", [y, y], {"axis": 3})
    y = graph.add_node("reduce_mean", [y], {"axes": [1], "keepdims": 0})
    graph.set_outputs([graph.add_node("gelu", [y])])
    graph.verify()
    x = rng.normal(size=(3, 4, 7, 9)).astype(np.float32)
    np.testing.assert_allclose(
        run(to_torch(graph), x), tersor.Session(graph)(x), rtol=1e-4, atol=1e-5
    )


def test_resnet20():
    graph = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    model = tersor.compress(graph, recipe="w4a32")
    x = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(
        run(model.to_torch(), x), tersor.Session(model)(x), rtol=1e-3, atol=1e-3
    )


def test_mistakes():
    with pytest.raises(TypeError, match="network must be a Graph or CompressedModel, got int"):
        to_torch(3)
    module = to_torch(residual())
    with pytest.raises(ValueError, match="inputs must be 1 tensors, got 2"):
        module(torch.zeros(1), torch.zeros(1))
