"""PyTorch modules that lose channels: they run, equal the network without them, and train on."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor import zoo
from tersor.torch import prune_channels
from tests import architectures


def convolutional(seed=0):
    torch.manual_seed(seed)
    return architectures.initialise(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.PReLU(16),
            nn.Conv2d(16, 24, 1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(96, 5),
        ),
        seed,
    )


def retrains(module, *shape):
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    before = [p.detach().clone() for p in module.parameters()]
    module(torch.randn(4, *shape)).square().mean().backward()
    optimizer.step()
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("criterion", ["bn_gamma", "l1", "l2", "taylor", "activation"])
@pytest.mark.parametrize("budget", ["macs", "parameters", "keep"])
def test_plain_layers_of_fitting_sizes(criterion, budget):
    module = convolutional()
    if criterion == "taylor":
        module(torch.randn(8, 3, 8, 8)).square().mean().backward()
    before = copy.deepcopy(module.state_dict())
    x = torch.randn(2, 3, 8, 8)
    options = {"criterion": criterion, "data": torch.randn(64, 3, 8, 8), budget: 0.5}
    small = prune_channels(module, x, **options)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), module.state_dict().values(), strict=False)
    )
    count = sum(p.numel() for p in small.parameters())
    assert count < 0.75 * sum(p.numel() for p in module.parameters())
    assert [type(m) for m in small.modules()] == [type(m) for m in module.modules()]
    for m in small.modules():
        if isinstance(m, nn.Conv2d):
            assert m.weight.shape[:2] == (m.out_channels, m.in_channels // m.groups)
        if isinstance(m, nn.BatchNorm2d):
            assert m.num_features == len(m.running_mean) == len(m.weight)
    assert all(p.grad is None for p in small.parameters())
    assert retrains(small, 3, 8, 8)
    graph = tersor.from_torch(small.eval(), x)
    np.testing.assert_allclose(
        tersor.Session(graph)(x.numpy()), small(x).detach().numpy(), rtol=1e-3, atol=1e-4
    )


def test_gamma_decides():
    module = convolutional()
    with torch.no_grad():
        module[1].weight.copy_(torch.arange(16.0) + 1)
    small = prune_channels(
        module, torch.randn(1, 3, 8, 8), keep=0.5, criterion="bn_gamma", exclude=["5"]
    )
    assert small[1].weight.tolist() == list(range(9, 17))
    assert torch.equal(small[0].weight, module[0].weight[8:])
    assert small[3].groups == 8
    assert small[5].out_channels == 24


def test_scores_by_module():
    module = convolutional()
    scores = {"0": np.arange(16)[::-1]}
    small = prune_channels(module, torch.randn(1, 3, 8, 8), keep=0.25, scores=scores, exclude=["5"])
    assert torch.equal(small[0].weight, module[0].weight[:4])


def test_zero_padded_shortcuts_keep_their_channels():
    module = architectures.initialise(zoo.resnet20())
    small = prune_channels(module, torch.randn(1, 3, 32, 32), keep=0.5)
    blocks = [m for m in small.modules() if hasattr(m, "conv2")]
    inner = [m.conv1.out_channels for m in blocks]
    outer = [m.conv2.out_channels for m in blocks]
    assert inner == [8] * 3 + [16] * 3 + [32] * 3
    assert outer == [16] * 3 + [32] * 3 + [64] * 3
    assert retrains(small, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "squeezenet"]
)
def test_architectures_shrink_by_half_and_retrain(name):
    module, example = architectures.build(name)
    small = prune_channels(module, example, macs=0.5)
    graph = tersor.from_torch(small, example)
    assert graph.macs <= 0.5 * tersor.from_torch(module, example).macs
    assert retrains(small, *example[0].shape[1:])


def test_refusals():
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="criterion must be one of"):
        prune_channels(convolutional(), x, keep=0.5, criterion="size")
    with pytest.raises(ValueError, match="budget must be exactly one"):
        prune_channels(convolutional(), x)
    with pytest.raises(ValueError, match="must have gradients for 'taylor'"):
        prune_channels(convolutional(), x, keep=0.5, criterion="taylor")
    with pytest.raises(ValueError, match="data must be given"):
        prune_channels(convolutional(), x, keep=0.5, criterion="activation")
    with pytest.raises(ValueError, match=r"scores must be of layers .*, got 'head'"):
        prune_channels(convolutional(), x, keep=0.5, scores={"head": [1]})
    with pytest.raises(ValueError, match="must match layers, got 'nothing"):
        prune_channels(convolutional(), x, keep=0.5, exclude=["nothing*"])
    plain = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="BatchNorm behind layers"):
        prune_channels(plain, torch.randn(1, 4), keep=0.5, criterion="bn_gamma")
