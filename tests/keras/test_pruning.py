"""Pruning of Keras models in an unchanged fit."""

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
from tersor.pruning import ConstantSchedule, PolynomialSchedule  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def model(seed=0):
    keras.utils.set_random_seed(seed)
    start = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(start)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="second")(x))
    x = layers.GlobalAveragePooling2D()(x)
    made = keras.Model(start, layers.Dense(4, name="last")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.Adam(0.01), loss)
    return made


def samples():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8, 8, 3)).astype(np.float32), rng.integers(0, 4, 64)


def kernels(made):
    return {n: np.asarray(made.get_layer(n).kernel) for n in ("first", "second", "last")}


@pytest.mark.parametrize("structure", ["unstructured", "1x4", "2:4"])
@pytest.mark.parametrize("criterion", ["magnitude", "lamp", "random"])
def test_zeros_follow_the_schedule(structure, criterion):
    made = model()
    schedule = PolynomialSchedule(0.5, end=6, frequency=2)
    prune = tk.PruningCallback(schedule, structure=structure, criterion=criterion)
    history = made.fit(*samples(), batch_size=16, epochs=2, verbose=0, callbacks=[prune])
    assert prune.steps == 8
    assert prune.layers == ["first", "second", "last"]
    found = kernels(made)
    zeros = sum(int((k == 0).sum()) for k in found.values())
    total = sum(k.size for k in found.values())
    assert zeros / total == pytest.approx(prune.sparsity, abs=1e-9)
    assert prune.sparsity == pytest.approx(0.5, abs=0.02)
    assert history.history["sparsity"][-1] == prune.sparsity
    if structure == "2:4":
        rows = np.moveaxis(found["second"], -1, 0).reshape(8, -1, 4)
        assert (np.count_nonzero(rows, axis=2) <= 2).all()


def test_masks_are_held_and_survive_quantization_training(tmp_path):
    made = model()
    first = tk.PruningCallback(ConstantSchedule(0.6), exclude=["first"])
    made.fit(*samples(), batch_size=32, epochs=1, verbose=0, callbacks=[first])
    before = {n: k == 0 for n, k in kernels(made).items()}
    assert not before["first"].any()
    held = tk.PruningCallback()
    made.fit(*samples(), batch_size=32, epochs=1, verbose=0, callbacks=[held])
    assert held.layers == ["second", "last"]
    for name, zero in kernels(made).items():
        np.testing.assert_array_equal(zero == 0, before[name])
    prepared = tk.prepare_qat(made, "w4a8")
    prepared.compile(keras.optimizers.Adam(0.01), made.loss)
    schedule = tk.QuantizationSchedule()
    prepared.fit(*samples(), batch_size=16, epochs=2, verbose=0, callbacks=[schedule])
    for name, kernel in kernels(tk.finalize(prepared)).items():
        assert (kernel[before[name]] == 0).all()
    compressed = tersor.compress(tersor.from_keras(prepared), recipe="keep")
    compressed.save(tmp_path / "m.tersor")
    loaded = tersor.load(tmp_path / "m.tersor").graph
    codes = {e.shape: e.constant for e in loaded.edges if e.is_constant and e.dtype == "int8"}
    assert (codes[4, 8][before["last"].T] == 0).all()
    assert (codes[8, 8, 3, 3][np.moveaxis(before["second"], (-1, -2), (0, 1))] == 0).all()


def test_refusals():
    with pytest.raises(ValueError, match="criterion must be one of"):
        tk.PruningCallback(ConstantSchedule(0.5), criterion="taylor")
    with pytest.raises(ValueError, match="scope must be global or layer"):
        tk.PruningCallback(ConstantSchedule(0.5), scope="all")
    with pytest.raises(ValueError, match="model must have kernels with zeros, got none"):
        model().fit(*samples(), verbose=0, callbacks=[tk.PruningCallback()])
