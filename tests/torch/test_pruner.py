"""Masks on the weights of PyTorch modules: schedules, states, and what comes after."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.pruning import ConstantSchedule, PolynomialSchedule
from tersor.torch import Pruner, finalize, prepare_qat
from tersor.training import NetworkSlimming, PruningSchedule, QuantizationSchedule, fit
from tests.small_training import PREPROCESS, images, network


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


def train(module, pruner, steps, lr=0.05, **options):
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=0.9, weight_decay=1e-3)
    handle = pruner.attach(optimizer) if pruner else None
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 3, 4, 4, generator=rng)
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    if handle is not None:
        handle.remove()


def zeros(module):
    weights = [m.weight for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


@pytest.mark.parametrize("criterion", ["magnitude", "lamp", "taylor", "movement", "random"])
@pytest.mark.parametrize("structure", ["unstructured", "1x4", "2:4"])
def test_schedule_is_followed_and_zeros_hold(criterion, structure):
    module = small()
    schedule = PolynomialSchedule(0.5, end=8, frequency=4)
    pruner = Pruner(module, schedule, criterion=criterion, structure=structure)
    train(module, pruner, 12)
    assert pruner.steps == 12
    assert pruner.sparsity == pytest.approx(0.5, abs=0.01)
    before = [mask.clone() for mask in pruner.mask_buffers()]
    assert pruner.finalize() is module
    count, total = zeros(module)
    assert count == sum(int((m == 0).sum()) for m in before)
    assert count / total == pytest.approx(0.5, abs=0.01)
    assert type(module[0]) is nn.Conv2d
    assert isinstance(module[0].weight, nn.Parameter)


def test_masks_are_those_of_numpy():
    module = small()
    weights = [module[i].weight.detach().clone().numpy() for i in (0, 3, 6)]
    pruner = Pruner(module, ConstantSchedule(0.75))
    flat = np.sort(np.abs(np.concatenate([w.ravel() for w in weights])))
    limit = flat[round(0.75 * flat.size)]
    for w, mask in zip(weights, pruner.masks().values(), strict=True):
        np.testing.assert_array_equal(mask.numpy(), np.abs(w) >= limit)


def test_state_dict_brings_masks_back():
    module = small()
    pruner = Pruner(module, PolynomialSchedule(0.5, end=4, frequency=2), criterion="taylor")
    train(module, pruner, 3)
    buffer = io.BytesIO()
    torch.save({"module": module.state_dict(), "pruner": pruner.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    other = small(5)
    second = Pruner(other, PolynomialSchedule(0.5, end=4, frequency=2), criterion="taylor")
    other.load_state_dict(saved["module"])
    second.load_state_dict(saved["pruner"])
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(module.eval()(x), other.eval()(x), rtol=0, atol=0)
    assert second.steps == 3
    assert second.sparsity == pruner.sparsity


def test_autocast_copies_and_exclusion():
    module = small()
    pruner = Pruner(module, ConstantSchedule(0.5), exclude=["6"])
    assert pruner.layers == ["0", "3"]
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.randn(2, 3, 4, 4)).sum().backward()
    gradient = module[0].parametrizations.weight.original.grad
    assert (gradient[~pruner.masks()["0"]] == 0).all()
    twin = copy.deepcopy(module)
    torch.testing.assert_close(twin[0].weight, module[0].weight)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_module_sees_new_masks():
    module = small().eval()
    pruner = Pruner(module, PolynomialSchedule(0.9, end=2, frequency=1))
    compiled = torch.compile(module)
    x = torch.randn(2, 3, 4, 4)
    for _ in range(3):
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
        pruner.step()
    assert pruner.sparsity > 0.89


def test_zeros_stay_through_quantization_training_saving_and_loading(tmp_path):
    module = small()
    Pruner(module, ConstantSchedule(0.6)).finalize()
    where = [module[i].weight.detach() == 0 for i in (0, 3, 6)]
    prepared = prepare_qat(module, "w4a8", torch.randn(2, 3, 4, 4))
    train(prepared, None, 10)
    graph = tersor.from_torch(prepared.eval(), torch.randn(1, 3, 4, 4))
    plain = finalize(prepared)
    for i, zero in zip((0, 3, 6), where, strict=True):
        assert torch.equal(plain[i].weight == 0, zero)
    model = tersor.compress(graph, recipe="keep")
    model.save(tmp_path / "m.tersor")
    loaded = tersor.load(tmp_path / "m.tersor")
    codes = [e.constant for e in loaded.graph.edges if e.is_constant and e.dtype == "int8"]
    for code, zero in zip(codes, where, strict=True):
        assert (code[zero.numpy()] == 0).all()
    assert sum(int((c == 0).sum()) for c in codes) >= sum(int(z.sum()) for z in where)


def test_checkpoint_of_a_pruned_network_loads_into_an_unpruned_one():
    module = small()
    Pruner(module, ConstantSchedule(0.6)).finalize()
    example = torch.randn(2, 3, 4, 4)
    prepared = prepare_qat(module, "int8", example)
    other = prepare_qat(small(3), "int8", example)
    other.load_state_dict(prepared.state_dict())
    train(other, None, 3)
    assert zeros(finalize(other))[0] == zeros(module)[0]


def test_pruner_without_schedule_holds_zeros():
    module = small()
    Pruner(module, ConstantSchedule(0.5)).finalize()
    before = [module[i].weight.detach() == 0 for i in (0, 3, 6)]
    pruner = Pruner(module)
    train(module, pruner, 5)
    pruner.finalize()
    for i, zero in zip((0, 3, 6), before, strict=True):
        assert torch.equal(module[i].weight == 0, zero)


def test_callbacks_combine_with_slimming_and_quantization():
    model = network()
    prune = PruningSchedule(PolynomialSchedule(0.5, end=4, frequency=2))
    options = {"batch_size": 64, "learning_rate": 0.05, "preprocess": PREPROCESS}
    history = fit(
        model,
        images(),
        epochs=2,
        callbacks=[prune, NetworkSlimming(1e-3)],
        progress=False,
        **options,
    )
    assert history["sparsity"][-1] == pytest.approx(0.5, abs=0.01)
    before, total = zeros(model)
    assert before / total == pytest.approx(0.5, abs=0.01)
    prepared = prepare_qat(model, "int8", torch.zeros(2, 3, 8, 8))
    fit(prepared, images(), epochs=1, callbacks=[QuantizationSchedule()], progress=False, **options)
    assert zeros(finalize(prepared))[0] == before


def test_slimming_is_the_sum_of_gammas():
    class State:
        model = small()

    callback = NetworkSlimming(0.5)
    callback.on_fit_begin(State)
    with torch.no_grad():
        State.model[1].weight.copy_(torch.arange(-4.0, 4.0))
    loss = callback.modify_loss(State, None, None, torch.tensor(1.0))
    assert loss.item() == pytest.approx(1 + 0.5 * 16)


def test_refusals():
    with pytest.raises(TypeError, match="module must be a torch"):
        Pruner(3, ConstantSchedule(0.5))
    with pytest.raises(ValueError, match="module must have weights that are exactly 0"):
        Pruner(small())
    with pytest.raises(ValueError, match="module must have Conv or Linear layers"):
        Pruner(nn.ReLU(), ConstantSchedule(0.5))
    with pytest.raises(ValueError, match="criterion must be one of"):
        Pruner(small(), ConstantSchedule(0.5), criterion="size")
    with pytest.raises(ValueError, match="structure must be"):
        Pruner(small(), ConstantSchedule(0.5), structure="4x")
    with pytest.raises(ValueError, match="exclude must match layers"):
        Pruner(small(), ConstantSchedule(0.5), exclude=["conv*"])
    module = small()
    Pruner(module, ConstantSchedule(0.5))
    with pytest.raises(ValueError, match="got a parametrized one"):
        Pruner(module, ConstantSchedule(0.5))
    with pytest.raises(ValueError, match="strength must be at least 0"):
        NetworkSlimming(-1)
