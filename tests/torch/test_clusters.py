"""Training through codebooks: gradients, masks, states, and plain modules afterwards."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tersor.codebook import kmeans
from tersor.pruning import ConstantSchedule
from tersor.torch import Pruner, cluster_weights


def small(seed=0, act=nn.ReLU):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        act(),
        nn.Conv2d(8, 8, 3, padding=1),
        act(),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


LAYERS = (0, 3, 6)


def train(module, clusters, steps, lr=1e-3):
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=0.9, weight_decay=1e-2)
    handle = clusters.attach(optimizer)
    rng = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(16, 3, 4, 4, generator=rng)
        optimizer.zero_grad()
        loss = (module(x) - x.mean((1, 2, 3)).view(-1, 1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    handle.remove()
    return losses


def test_weights_are_those_of_kmeans():
    module = small()
    expected = {i: kmeans(module[i].weight.detach().numpy(), 8) for i in LAYERS}
    clusters = cluster_weights(module, 8)
    assert clusters.layers == ["0", "3", "6"]
    for i, c in expected.items():
        np.testing.assert_array_equal(module[i].weight.detach().numpy(), c.decode())
        assert module[i].parametrizations.weight.original.shape == (1, 8)
    assert sum(p.numel() for n, p in module.named_parameters() if "parametrizations" in n) == 24


@pytest.mark.parametrize("group_size", [None, 1, 3])
@pytest.mark.parametrize("path", ["native", "torch"])
def test_gradients_match_finite_differences(group_size, path):
    module = small(act=nn.Tanh)  # smooth
    clusters = cluster_weights(module, 4, group_size=group_size)
    if path == "torch":
        module = module.double()
    x = torch.randn(4, 3, 4, 4, dtype=next(module.parameters()).dtype)
    module.eval()

    def loss():
        return module(x).square().sum()

    loss().backward()
    rng = np.random.default_rng(0)
    for i in LAYERS:
        table = module[i].parametrizations.weight.original
        for _ in range(4):
            t, c = rng.integers(table.shape[0]), rng.integers(table.shape[1])
            eps = 2e-3 if path == "native" else 1e-5
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    table[t, c] += sign * eps
                    values.append(loss().item())
                    table[t, c] -= sign * eps
            slope = (values[0] - values[1]) / (2 * eps)
            assert table.grad[t, c].item() == pytest.approx(slope, rel=2e-2, abs=2e-2)
    assert clusters.layers


def test_gradient_is_the_sum_over_members():
    module = small()
    plain = copy.deepcopy(module)
    cluster_weights(module, 16)
    for i in LAYERS:
        with torch.no_grad():
            plain[i].weight.copy_(module[i].weight)
    x = torch.randn(4, 3, 4, 4)
    for net in (module, plain):
        net(x).square().sum().backward()
    for i in LAYERS:
        own = module[i].parametrizations.weight
        codes = own[0].indices.numpy().ravel()
        expected = np.bincount(codes, plain[i].weight.grad.numpy().ravel(), 16)
        np.testing.assert_allclose(own.original.grad.numpy()[0], expected, rtol=1e-4, atol=1e-4)


def test_training_lowers_the_loss_and_keeps_the_clusters():
    module = small()
    clusters = cluster_weights(module, 8)
    before = {n: c.indices for n, c in clusters.codebooks().items()}
    losses = train(module, clusters, 60)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    for name, c in clusters.codebooks().items():
        np.testing.assert_array_equal(c.indices, before[name])
    decoded = {n: c.decode() for n, c in clusters.codebooks().items()}
    assert clusters.finalize() is module
    for i in LAYERS:
        assert type(module[i]) in (nn.Conv2d, nn.Linear)
        assert isinstance(module[i].weight, nn.Parameter)
        assert len(module[i].weight.unique()) == 8
        np.testing.assert_array_equal(module[i].weight.detach().numpy(), decoded[str(i)])


@pytest.mark.parametrize("reassign", [None, 2])
def test_zeros_of_a_pruned_module_stay(reassign):
    module = small()
    pruner = Pruner(module, ConstantSchedule(0.75, end=0))
    masks = {n: m.numpy() for n, m in pruner.masks().items()}
    pruner.finalize()
    clusters = cluster_weights(module, 8, reassign=reassign)
    train(module, clusters, 20)
    clusters.finalize()
    for i in LAYERS:
        weight = module[i].weight.detach().numpy()
        np.testing.assert_array_equal(weight != 0, masks[str(i)])
        assert len(np.unique(weight)) <= 8


def test_reassignment_takes_the_nearest():
    module = small()
    clusters = cluster_weights(module, 6, reassign=3, group_size=4)
    assert clusters.reassign() == 0  # they are nearest already
    train(module, clusters, 30, lr=0.02)
    assert clusters.steps == 30
    for name, c in clusters.codebooks().items():
        latent = module[int(name)].parametrizations.weight.original0.detach().numpy()
        for t, table in enumerate(np.atleast_2d(c.centroids)):
            part = slice(4 * t, 4 * t + 4)
            distance = np.abs(latent[part][..., None] - table)
            chosen = np.take_along_axis(distance, c.indices[part][..., None].astype(int), -1)
            np.testing.assert_allclose(chosen[..., 0], distance.min(-1), atol=1e-6)
    clusters.finalize()
    assert all(len(module[i].weight[:4].unique()) <= 6 for i in LAYERS)


def test_state_dict_and_copies():
    module = small()
    clusters = cluster_weights(module, 8)
    train(module, clusters, 5)
    other = small(1)
    cluster_weights(other, 8)
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 4, 4)
    module.eval()
    other.eval()
    assert torch.equal(module(x), other(x))
    assert torch.equal(copy.deepcopy(module)(x), module(x))


def test_autocast_and_half_weights():
    module = small()
    clusters = cluster_weights(module, 8)
    x = torch.randn(4, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(x).float().square().mean()
    loss.backward()
    table = module[0].parametrizations.weight.original
    assert table.grad.dtype == torch.float32
    assert (table.grad != 0).all()
    clusters.finalize()
    narrow = small().bfloat16()
    cluster_weights(narrow, 8)
    narrow(x.bfloat16()).float().square().mean().backward()
    assert narrow[0].parametrizations.weight.original.grad.dtype == torch.bfloat16


def test_k_by_pattern_and_excluded_layers():
    module = small()
    clusters = cluster_weights(module, {"6": 32, "*": 4}, exclude=["0"])
    assert clusters.layers == ["3", "6"]
    clusters.finalize()
    assert [len(module[i].weight.unique()) for i in (3, 6)] == [4, 32]
    assert cluster_weights(small(), {"3": 2}).layers == ["3"]


def test_frozen_layers_stay_frozen():
    module = small()
    module[3].weight.requires_grad_(False)
    clusters = cluster_weights(module, 4)
    assert not module[3].parametrizations.weight.original.requires_grad
    clusters.finalize()
    assert not module[3].weight.requires_grad
    assert module[0].weight.requires_grad


def test_importance_moves_centroids():
    module, rated = small(), np.ones((4, 128), np.float32)
    rated[0] = 1e4
    clusters = cluster_weights(module, 2, weights={"6": rated})
    first = clusters.codebooks()["6"].centroids
    assert not np.allclose(first, kmeans(small()[6].weight.detach().numpy(), 2).centroids)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"module": 3}, TypeError, "module must be a torch.nn.Module, got int"),
        ({"module": nn.ReLU()}, ValueError, "module must have Conv or Linear layers, got none"),
        ({"k": 0}, ValueError, r"k must be in \[1, 256\], got 0"),
        ({"reassign": 0}, ValueError, "reassign must be at least 1, got 0"),
        ({"exclude": ["nothing"]}, ValueError, "exclude must match layers"),
        ({"weights": {"1": [1.0]}}, ValueError, "weights must be of clustered layers, got '1'"),
        ({"group_size": 0}, ValueError, "group_size must be at least 1, got 0"),
    ],
)
def test_mistakes(arguments, error, text):
    given = {"module": small()} | arguments
    with pytest.raises(error, match=text):
        cluster_weights(given.pop("module"), **given)


def test_parametrized_weights_are_refused():
    module = small()
    Pruner(module, ConstantSchedule(0.5))
    with pytest.raises(ValueError, match="got a parametrized one"):
        cluster_weights(module)
