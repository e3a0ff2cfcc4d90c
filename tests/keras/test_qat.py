"""Quantization-aware training of Keras models: unchanged fit, conversion, the session's codes."""

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
from tersor.keras.quantized_layer import QuantizedLayer  # noqa: E402
from tersor.keras.quantizers import FakeQuantize, learned_rounding  # noqa: E402
from tersor.quantization import lsq_backward, lsq_forward  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def everything():
    """A residual block, a gate, a separable convolution, pools, and dense layers; logits out."""
    keras.utils.set_random_seed(0)
    start = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(start)
    x = skip = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Activation("relu6")(layers.BatchNormalization()(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(x))
    x = layers.ReLU()(layers.Add()([x, skip]))
    x = layers.SeparableConv2D(12, 3, strides=2, padding="same", activation="swish")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    x = layers.Dense(16, activation="relu")(x)
    return keras.Model(start, layers.Dense(10)(x))


def samples(seed=0, count=64):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 12, 12, 3)).astype(np.float32)
    return x, rng.integers(0, 10, count)


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def plain():
    model = compiled(everything())
    model.fit(*samples(), epochs=2, batch_size=16, verbose=0)
    return model


@pytest.fixture(scope="module", params=["int8", "w4a8"])
def trained(request, plain):
    model = compiled(tk.prepare_qat(plain, request.param, momentum=0.5))
    schedule = tk.QuantizationSchedule(0.2, 0.6)
    history = model.fit(*samples(), epochs=6, batch_size=16, verbose=0, callbacks=[schedule])
    return request.param, model, history


def test_unchanged_fit_trains_and_the_session_gives_the_same_codes(trained):
    recipe, model, history = trained
    assert history.history["loss"][-1] < history.history["loss"][1]
    graph = tersor.from_keras(model)
    x, _ = samples(7)
    np.testing.assert_allclose(
        tersor.Session(graph)(x), model.predict(x, verbose=0), rtol=0, atol=1e-6
    )
    bits = {
        node.op: {graph.edges[node.inputs[1]].qparams.bits}
        for node in graph.nodes
        if node.op in ("conv", "dense")
    }
    assert bits == {op: {4 if recipe == "w4a8" else 8} for op in ("conv", "dense")}


def test_every_kind_of_layer_is_rounded(trained):
    _, model, _ = trained
    kinds = [type(m.inner).__name__ for m in model.layers if isinstance(m, QuantizedLayer)]
    assert sorted(kinds) == ["Conv2D"] * 4 + ["Dense"] * 2 + ["DepthwiseConv2D"] * 2


def test_graph_is_saved_as_it_is(trained, tmp_path):
    _, model, _ = trained
    tersor.compress(tersor.from_keras(model), recipe="keep").save(tmp_path / "trained.tersor")
    x, _ = samples(8)
    session = tersor.Session(tersor.load(tmp_path / "trained.tersor"))
    np.testing.assert_allclose(session(x), model.predict(x, verbose=0), rtol=0, atol=1e-6)


def test_finalize_gives_the_plain_model_back(plain, trained):
    recipe, model, _ = trained
    final = tk.finalize(model)
    assert [type(m) for m in final.layers] == [type(m) for m in plain.layers]
    assert [m.name for m in final.layers[1:]] == [m.name for m in plain.layers[1:]]
    x, _ = samples(9)
    float_logits, logits = final.predict(x, verbose=0), model.predict(x, verbose=0)
    correlation = np.corrcoef(float_logits.ravel(), logits.ravel())[0, 1]
    assert correlation > (0.97 if recipe == "int8" else 0.8)
    assert not np.array_equal(final.get_weights()[0], plain.get_weights()[0])


def test_phases(plain):
    model = tk.prepare_qat(plain)
    x, _ = samples(3)
    tk.set_qat_phase(model, "observe")
    before = model(x, training=False)
    expected = keras.ops.convert_to_numpy(plain(x, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(before), expected, rtol=1e-3, atol=1e-4)
    model(x, training=True)
    tk.set_qat_phase(model, "freeze")
    held = [w.numpy() if hasattr(w, "numpy") else np.asarray(w) for w in _state(model)]
    model(2 * x, training=True)
    for a, b in zip(held, _state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_overflow_does_not_stay_in_the_range():
    quantizer = FakeQuantize()
    for values in ([1.0, np.inf], [-1.0, 3.0], [-5.0, np.nan], [-np.inf, 9.0]):
        y = quantizer(keras.ops.convert_to_tensor(np.float32(values)), training=True)
    assert keras.ops.shape(y) == (2,)
    found = [float(keras.ops.convert_to_numpy(v.value)) for v in (quantizer.lo, quantizer.hi)]
    assert (found, int(quantizer.batches)) == ([-1.0, 3.0], 1)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="gradients by torch")
def test_learned_rounding_is_that_of_the_kernels():
    """Also at the limits, where the gradient goes to the scale alone."""
    import torch

    rng = np.random.default_rng(0)
    scale = np.float32(2.0 ** rng.integers(-4, 1, 6))  # limits are hit exactly
    w = rng.normal(size=(9, 6)).astype(np.float32)
    w[0], w[1] = 7 * scale, -7 * scale
    dy = rng.normal(size=w.shape).astype(np.float32)
    t, s = torch.tensor(w, requires_grad=True), torch.tensor(scale, requires_grad=True)
    y = learned_rounding(t, s, 7.0)
    y.backward(torch.tensor(dy))
    options = {"bits": 4, "narrow": True, "axis": 1}
    dw, ds, _ = lsq_backward(dy, w, scale, gradient_scale=1.0, **options)
    np.testing.assert_allclose(y.detach().numpy(), lsq_forward(w, scale, **options), rtol=1e-6)
    np.testing.assert_array_equal(t.grad.numpy(), dw)
    np.testing.assert_allclose(s.grad.numpy(), ds, rtol=1e-5, atol=1e-5)
    assert not dw[:2].any()


def test_learned_scales_start_where_the_error_is_least_and_move(plain, trained):
    recipe, model, _ = trained
    own = [m for m in model.layers if isinstance(m, QuantizedLayer)]
    assert {m.rounding.learned for m in own} == {recipe == "w4a8"}
    assert all(m.rounding.learned for m in _quantized(tk.prepare_qat(plain, learned_scales=True)))
    if recipe == "int8":
        return
    assert all(np.any(_value(m.log_scale)) for m in own)
    fresh = tk.prepare_qat(plain, "w4a8")
    tk.set_qat_phase(fresh, "observe")
    fresh.set_weights([1.5 * w if w.ndim > 1 else w for w in fresh.get_weights()])
    tk.set_qat_phase(fresh, "quantize")
    for layer in _quantized(fresh):
        w, scale = _value(layer.inner.kernel), _value(layer.start)
        full = np.abs(w).max(layer.rounding.axes, keepdims=True) / 7
        errors = [np.square(np.clip(np.rint(w / s), -7, 7) * s - w).sum() for s in (scale, full)]
        assert errors[0] < errors[1]
        assert np.all(scale > 0.3 * full)
        layer.log_scale.assign(np.full(scale.shape, 0.25, np.float32))
    tk.set_qat_phase(fresh, "observe")
    tk.set_qat_phase(fresh, "quantize")  # resumed: what was learned stays
    assert all(np.all(_value(m.log_scale) == 0.25) for m in _quantized(fresh))


def test_learned_scales_follow_the_normalisation(plain):
    """Codes stay while the moving variance, and with it the folded weight, changes."""
    model = tk.prepare_qat(plain, "w4a8")
    model(samples(1)[0], training=True)
    layer = next(m for m in _quantized(model) if m.norm is not None)
    before = layer.integers(*layer.folded())[0]
    layer.norm.moving_variance.assign(4 * _value(layer.norm.moving_variance))
    np.testing.assert_array_equal(layer.integers(*layer.folded())[0], before)


def _quantized(model):
    return [m for m in model.layers if isinstance(m, QuantizedLayer)]


def _value(variable):
    return keras.ops.convert_to_numpy(variable.value)


def _state(model):
    return [keras.ops.convert_to_numpy(v.value) for v in model.non_trainable_variables
            if v.dtype == "float32"]  # fmt: skip


def test_nested_and_sequential_models():
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(4, 3), layers.ReLU()])
    model = keras.Sequential([keras.Input((6, 6, 4)), inner, layers.Flatten(), layers.Dense(3)])
    prepared = tk.prepare_qat(model)
    x = np.random.default_rng(0).normal(size=(16, 6, 6, 4)).astype(np.float32)
    prepared(x, training=True)
    graph = tersor.from_keras(prepared)
    np.testing.assert_allclose(
        tersor.Session(graph)(x), prepared.predict(x, verbose=0), rtol=0, atol=1e-6
    )
    assert [m.name for m in tk.finalize(prepared).layers] == [m.name for m in model.layers]


def test_refusals(plain):
    with pytest.raises(TypeError, match=r"prepare_qat: model must be a keras\.Model, got int"):
        tk.prepare_qat(3)
    with pytest.raises(ValueError, match="prepare_qat: recipe must be int8 or w4a8, got 'bf16'"):
        tk.prepare_qat(plain, "bf16")
    with pytest.raises(ValueError, match="finalize: model must come from prepare_qat"):
        tk.finalize(plain)
    with pytest.raises(ValueError, match="set_qat_phase: phase must be observe"):
        tk.set_qat_phase(plain, "stop")
    prepared = tk.prepare_qat(plain)
    with pytest.raises(ValueError, match="prepare_qat: model must be a plain model"):
        tk.prepare_qat(prepared)
    with pytest.raises(RuntimeError, match="FakeQuantize: a range is needed"):
        tersor.from_keras(prepared)
    start = keras.Input((4, 4, 2))
    shared = layers.Conv2D(2, 1)
    twice = keras.Model(start, shared(shared(start)))
    with pytest.raises(tersor.UnsupportedError, match="must be called once"):
        tk.prepare_qat(twice)
    half = keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype="mixed_bfloat16", name="fc")])
    with pytest.raises(
        tersor.UnsupportedError, match="layer 'fc' must compute in float32, got bfloat"
    ):
        tk.prepare_qat(half)
    with pytest.raises(ValueError, match="QuantizationSchedule: observe must be"):
        tk.QuantizationSchedule(observe=1.5)
