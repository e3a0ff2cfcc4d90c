"""Training compressed networks through their codes."""

import functools
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

import tersor
from tersor import coding
from tersor.torch import CodedNetwork
from tersor.torch.coded_network import cheapest
from tests.compress.networks import images, residual

RECIPES = {
    "rate-distortion": {"values": "rate-distortion", "bits_per_weight": 2.5},
    "codebook4": {"values": "codebook4"},
    "codebook2": {"values": "codebook2"},
    "pruned": {"values": "codebook4", "pruning": {"sparsity": 0.5}},
}


@functools.cache
def compressed(recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tersor.compress(residual(), recipe=RECIPES[recipe], calibration=images())


def coded_weights(model):
    return [
        np.asarray(e.constant)
        for e in model.graph.edges
        if e.is_constant and e.qparams is not None and e.dtype != "int32"
    ]


def values(model):
    """Real values of the coded weights."""
    graph = tersor.Graph(model.graph.clone())
    found = []
    for e in graph.edges:
        if e.is_constant and e.qparams is not None and e.dtype != "int32":
            found.append(tersor.quantization.dequantize(np.asarray(e.constant), e.qparams))
    return found


def train(network, steps=40, lr=1e-2):
    """Follow another function than the float network's; returns the error before and after."""
    teacher = tersor.torch.to_torch(residual())
    optimizer = torch.optim.Adam(network.parameters(), lr)
    network.attach(optimizer)
    x = torch.from_numpy(images(64))
    wanted = 0.6 * teacher(x).detach() + 0.1
    errors = []
    for _ in range(steps):
        optimizer.zero_grad()
        error = (network(x) - wanted).square().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    return errors[0], min(errors[-6:])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("latent", [False, True])
def test_is_the_compressed_network(recipe, latent):
    model = compressed(recipe)
    network = CodedNetwork(model, residual() if latent else None)
    x = images()
    got = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, tersor.Session(model)(x), rtol=1e-4, atol=1e-4)
    written = network.write()
    for a, b in zip(values(model), values(written), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("latent", [False, True])
def test_training_helps_and_keeps_the_form(recipe, latent, tmp_path):
    model = compressed(recipe)
    network = CodedNetwork(model, residual() if latent else None, every=3)
    before, after = train(network)
    assert after < 0.9 * before
    written = network.write()
    written.save(tmp_path / "model.tersor")
    again = tersor.load(tmp_path / "model.tersor")
    x = images()
    np.testing.assert_allclose(
        tersor.Session(again)(x), network(torch.from_numpy(x)).detach(), rtol=0.01, atol=0.02
    )
    for old, new in zip(values(model), values(again), strict=True):
        assert not np.any((old == 0) & (new != 0)), "zeros stay"
    if recipe.startswith("codebook"):
        most = 16 if recipe == "codebook4" else 4
        assert all(np.unique(v).size <= most for v in coded_weights(again))
    if not latent:
        for old, new in zip(values(model), values(again), strict=True):
            same_old = np.unique(old, return_inverse=True)[1]
            assert len(np.unique(np.stack([same_old.ravel(), new.ravel()]), axis=1).T) == (
                len(np.unique(old))
            ), "values that were equal stay equal"


def test_bits_are_led_to_where_they_were():
    model = compressed("rate-distortion")
    network = CodedNetwork(model, residual(), every=1, keep_zeros=False)
    wanted = network.bits
    train(network)
    got = sum(own.bits() for own in network.weights)
    assert got < 1.1 * wanted
    before = sum(coding.entropy(c) * c.size for c in coded_weights(model))
    after = sum(coding.entropy(c) * c.size for c in coded_weights(network.write()))
    assert after < 1.1 * before


def test_a_price_is_weighed_against_error():
    network = CodedNetwork(compressed("rate-distortion"), residual(), keep_zeros=False)
    own = network.weights[1]
    for price in (0.0, 0.05, 0.3):
        own.price = price
        values = own.values().detach().double() / own._gap
        lengths = own.lengths().double()
        w = own.latent.detach().double().reshape(-1, 1)
        cost = (w - values) ** 2 + price * lengths
        own.assign()
        got = cost.gather(1, own.codes.reshape(-1, 1))
        torch.testing.assert_close(got[:, 0], cost.min(1).values, rtol=1e-5, atol=1e-12)


def test_bad_input():
    model = compressed("codebook4")
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        CodedNetwork(model, every=0)
    with pytest.raises(ValueError, match="parent must have layer"):
        CodedNetwork(model, tersor.zoo.load_digits_network())
    int8 = tersor.compress(residual(), recipe="fp16", calibration=images())
    with pytest.raises(ValueError, match="model must have weights of one table or step"):
        CodedNetwork(int8)
    with pytest.raises(TypeError, match="model must be a CompressedModel, got Graph"):
        CodedNetwork(residual())


@hypothesis.given(
    values=st.lists(st.floats(-4, 4), min_size=1, max_size=12),
    seed=st.integers(0, 2**31),
    price=st.sampled_from([0.0, 0.1, 3.0]),
)
def test_cheapest_is_the_lower_envelope(values, seed, price):
    rng = np.random.default_rng(seed)
    values = np.round(np.array(values), 3)
    cost = price * rng.exponential(size=len(values))
    chosen, borders = cheapest(values, cost)
    w = rng.normal(scale=3, size=200)
    every = (w[:, None] - values) ** 2 + cost
    got = every[np.arange(200), chosen[np.searchsorted(borders, w)]]
    np.testing.assert_allclose(got, every.min(1), rtol=1e-6, atol=1e-9)
    assert (np.diff(borders) >= 0).all()
