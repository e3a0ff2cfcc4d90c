"""Training Keras models through codebooks in an unchanged fit."""

from __future__ import annotations

import os

import numpy as np
import pytest

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = pytest.importorskip("keras.layers")

import tersor.keras as tk  # noqa: E402
from tersor.codebook import kmeans  # noqa: E402
from tersor.pruning import magnitude_mask  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
NAMES = ("first", "second", "last")


def model(seed=0):
    keras.utils.set_random_seed(seed)
    start = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(start)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="second")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(4, name="last")(x))


def compiled(made, rate=0.01):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    return made


def samples():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 64)
    return rng.normal(y[:, None, None, None], 0.5, (64, 8, 8, 3)).astype(np.float32), y


def kernel(made, name):
    return np.asarray(keras.ops.convert_to_numpy(made.get_layer(name).kernel))


def test_kernels_are_those_of_kmeans():
    made = model()
    expected = {name: kmeans(kernel(made, name), 8).decode() for name in NAMES}
    clusters = tk.cluster_weights(made, 8)
    assert clusters.layers == list(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(kernel(made, name), expected[name])
        np.testing.assert_array_equal(clusters.codebooks()[name].decode(), expected[name])


def test_training_moves_tables_and_ends_in_a_plain_model():
    made = model()
    kinds = [type(made.get_layer(name)) for name in NAMES]
    variables = [v.path for v in made.variables]
    clusters = tk.cluster_weights(made, {"last": 4, "*": 8})
    before = clusters.codebooks()
    history = compiled(made).fit(*samples(), batch_size=16, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    after = clusters.codebooks()
    for name in NAMES:
        np.testing.assert_array_equal(after[name].indices, before[name].indices)
        assert (after[name].centroids != before[name].centroids).any()
    x, _ = samples()
    expected = made.predict(x, verbose=0)
    assert clusters.finalize() is made
    assert [type(made.get_layer(name)) for name in NAMES] == kinds
    assert [v.path for v in made.variables] == variables
    assert [len(np.unique(kernel(made, n))) for n in NAMES] == [8, 8, 4]
    np.testing.assert_allclose(compiled(made).predict(x, verbose=0), expected, atol=1e-5)
    assert compiled(made).fit(*samples(), verbose=0).history["loss"][0] > 0
    assert len(np.unique(kernel(made, "first"))) > 8, "kernels learn again"


def test_a_step_is_the_sum_over_members():
    made, plain = model(), model()
    rate = 0.01
    clusters = tk.cluster_weights(made, 6)
    for name in NAMES:
        plain.get_layer(name).kernel.assign(kernel(made, name))
    before = {n: c.centroids for n, c in clusters.codebooks().items()}
    start = {name: kernel(plain, name) for name in NAMES}
    x, y = samples()
    for net in (made, plain):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.SGD(rate), loss)
        net.train_on_batch(x, y)
    for name, c in clusters.codebooks().items():
        moved = (kernel(plain, name) - start[name]).ravel().astype(np.float64)
        expected = before[name] + np.bincount(c.indices.ravel(), moved, c.k)
        np.testing.assert_allclose(c.centroids, expected, rtol=1e-3, atol=1e-5)


def test_zeros_of_pruned_kernels_stay():
    made = model()
    masks = {}
    for name in NAMES:
        layer = made.get_layer(name)
        masks[name] = magnitude_mask(kernel(made, name), 0.5)
        layer.kernel.assign(kernel(made, name) * masks[name])
    clusters = tk.cluster_weights(made, 8)
    compiled(made).fit(*samples(), batch_size=16, epochs=2, verbose=0)
    clusters.finalize()
    for name in NAMES:
        np.testing.assert_array_equal(kernel(made, name) != 0, masks[name])
        assert len(np.unique(kernel(made, name))) == 8


def test_mistakes():
    made = model()
    with pytest.raises(ValueError, match="weights must be of clustered layers, got 'depthwise'"):
        tk.cluster_weights(made, weights={"depthwise": 1.0})
    with pytest.raises(ValueError, match="exclude must match layers"):
        tk.cluster_weights(made, exclude=["nothing"])
    tk.cluster_weights(made, exclude=["last"])
    with pytest.raises(ValueError, match="plain kernels, got clustered 'first'"):
        tk.cluster_weights(made)
    empty = keras.Sequential([keras.Input((4,)), layers.ReLU()])
    with pytest.raises(ValueError, match="must have Conv or Dense layers, got none"):
        tk.cluster_weights(empty)
