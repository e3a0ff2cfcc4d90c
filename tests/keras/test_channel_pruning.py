"""Keras models that lose channels are rebuilt, equal the smaller network, and train on."""

from __future__ import annotations

import os

import numpy as np
import pytest

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = pytest.importorskip("keras.layers")

import tersor  # noqa: E402
import tersor.keras as tk  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def model(seed=0):
    keras.utils.set_random_seed(seed)
    start = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(start)
    x = skip = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(16, 1, name="point")(x)
    x = layers.Add()([x, skip])
    x = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="wide")(x)
    x = layers.Conv2DTranspose(12, 2, strides=2, name="up")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(20, activation="relu", name="hidden")(layers.Flatten()(x))
    made = keras.Model(start, layers.Dense(4, name="last")(x))
    rng = np.random.default_rng(seed)
    norm = made.get_layer("norm")
    norm.gamma.assign(rng.uniform(0.5, 1.5, 16))
    norm.moving_mean.assign(rng.normal(size=16))
    return made


@pytest.mark.parametrize("criterion", ["bn_gamma", "l1", "l2", "activation"])
@pytest.mark.parametrize("budget", ["macs", "parameters", "keep"])
def test_model_is_smaller_and_trains_on(criterion, budget):
    whole = model()
    data = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32)
    small = tk.prune_channels(whole, criterion=criterion, data=data, **{budget: 0.5})
    assert small.count_params() < 0.8 * whole.count_params()
    assert [type(a) for a in small.layers] == [type(b) for b in whole.layers]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    small.compile("adam", loss)
    before = [np.array(w) for w in small.get_weights()]
    small.fit(data, np.arange(64) % 4, verbose=0)
    assert any(not np.array_equal(a, b) for a, b in zip(before, small.get_weights(), strict=True))
    session = tersor.Session(tersor.from_keras(small))
    wanted = np.asarray(small.predict(data[:4], verbose=0))
    np.testing.assert_allclose(session(data[:4]), wanted, rtol=1e-3, atol=1e-4)


def test_scores_and_exclusion():
    whole = model()
    scores = {"wide": np.arange(24)}
    exclude = ["stem", "point", "up", "hidden"]
    small = tk.prune_channels(whole, keep=0.25, scores=scores, exclude=exclude)
    kept = np.asarray(small.get_layer("wide").kernel)
    np.testing.assert_array_equal(kept, np.asarray(whole.get_layer("wide").kernel)[..., 18:])
    assert small.get_layer("stem").filters == 16


def test_refusals():
    with pytest.raises(ValueError, match="criterion must be one of"):
        tk.prune_channels(model(), keep=0.5, criterion="taylor")
    with pytest.raises(ValueError, match="data must be given for 'activation'"):
        tk.prune_channels(model(), keep=0.5, criterion="activation")
    with pytest.raises(ValueError, match="must match layers, got 'nobody'"):
        tk.prune_channels(model(), keep=0.5, exclude=["nobody"])
    with pytest.raises(ValueError, match="budget must be exactly one of"):
        tk.prune_channels(model())
