"""Keras models: the session gives what model.predict gives; only boundary transposes stay."""

from __future__ import annotations

import os

import numpy as np
import pytest

import tersor

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = pytest.importorskip("keras.layers")
# Keras 3.15 on NumPy 2: variables lack the copy argument of __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def randomized(model, seed=0):
    """Draw every variable, batch-norm statistics positive."""
    rng = np.random.default_rng(seed)
    for v in model.variables:
        if "variance" in v.path:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
        elif "seed" not in v.path:
            fan_in = max(1, int(np.prod(v.shape[:-1])))
            scale = (2 / fan_in) ** 0.5 if len(v.shape) > 1 else 0.1
            v.assign(rng.normal(size=v.shape) * scale + ("gamma" in v.path))
    return model


def inputs_of(model, batch=3, seed=1):
    rng = np.random.default_rng(seed)
    result = []
    for t in model.inputs:
        shape = (batch, *t.shape[1:])
        if "int" in t.dtype:
            result.append(rng.integers(0, 10, shape).astype(t.dtype))
        else:
            result.append(rng.normal(size=shape).astype(np.float32))
    return result


def check(model, least_transposes=None):
    """Import and compare with Keras; returns the graph."""
    randomized(model)
    graph = tersor.from_keras(model)
    x = inputs_of(model)
    expected = model.predict(x if len(x) > 1 else x[0], verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    result = tersor.Session(graph)(*x)
    result = result if isinstance(result, (list, tuple)) else [result]
    assert len(result) == len(expected)
    for a, b in zip(result, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()
    if least_transposes is not None:
        assert [n.op for n in graph.nodes].count("transpose") == least_transposes
    return graph


def conv_bn(x, filters, kernel, strides=1, activation="relu"):
    x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def test_resnet8_h5(models_dir):
    path = models_dir / "resnet8-cifar10.h5"
    graph = tersor.load(path)
    assert [n.op for n in graph.nodes].count("transpose") == 1
    assert "batch_norm" not in [n.op for n in graph.nodes]
    assert tuple(graph.inputs[0].shape) == (None, 32, 32, 3)
    assert graph.edge("conv2d/kernel").shape == (16, 3, 3, 3)
    model = keras.models.load_model(path, compile=False)
    x = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(tersor.Session(graph)(x), model.predict(x, verbose=0), atol=1e-5)


def test_mobilenet_v1_like():
    x = i = keras.Input((48, 32, 3), name="image")
    x = conv_bn(x, 8, 3, 2, "relu6")
    for filters, strides in [(16, 1), (24, 2), (24, 1)]:
        x = layers.DepthwiseConv2D(3, strides, "same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = conv_bn(x, filters, 1, activation="relu6")
    x = layers.SeparableConv2D(20, 5, 2, "same", activation="swish")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(10, 1)(x)
    x = layers.Softmax()(layers.Reshape((10,))(x))
    graph = check(keras.Model(i, x), 1)
    ops = [n.op for n in graph.nodes]
    assert ops.count("conv") == 10
    assert "batch_norm" not in ops
    assert tuple(graph.inputs[0].shape) == (None, 48, 32, 3)


def test_flatten_before_dense_keeps_the_order():
    model = keras.Sequential(
        [
            keras.Input((9, 7, 2)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(6, activation="tanh"),
        ]
    )
    check(model, 2)


def test_concatenate_and_arithmetic_stay_channels_first():
    x = i = keras.Input((12, 12, 3))
    a, b = conv_bn(x, 4, 3), conv_bn(x, 4, 5)
    y = layers.Concatenate()([a, b, layers.Average()([a, b])])
    gate = layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling2D()(y))
    y = layers.Multiply()([y, layers.Reshape((1, 1, 12))(gate)])
    y = layers.Subtract()([y, layers.Maximum()([y, layers.Minimum()([y, y])])])
    y = layers.Concatenate(axis=1)([y, layers.Add()([y, y])])
    check(keras.Model(i, layers.PReLU(shared_axes=[1, 2])(y)), 2)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_transposed_convolution(kernel, strides, padding):
    x = i = keras.Input((5, 6, 3))
    check(keras.Model(i, layers.Conv2DTranspose(4, kernel, strides, padding)(x)))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_same_padding(size, strides):
    x = i = keras.Input((size, size + 1, 3))
    y = [layers.Conv2D(2, k, strides, "same")(x) for k in (1, 2, 3, 4)]
    y += [
        layers.MaxPooling2D(3, strides, "same")(x),
        layers.AveragePooling2D(2, strides, "same")(x),
    ]
    check(keras.Model(i, y))


def test_decoder_layers():
    x = i = keras.Input((6, 5, 3))
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.UpSampling2D(2)(layers.LeakyReLU(0.3)(x))
    x = layers.UpSampling2D((1, 2), interpolation="bilinear")(
        layers.Conv2D(4, 3, dilation_rate=2)(x)
    )
    x = layers.Cropping2D(((1, 2), (0, 3)))(x)
    check(keras.Model(i, layers.ELU()(x)), 2)


def test_one_dimensional():
    x = i = keras.Input((40, 3))
    x = layers.Conv1D(8, 5, 2, padding="causal", activation="elu")(x)
    x = layers.SeparableConv1D(6, 3, padding="same")(layers.BatchNormalization()(x))
    x = layers.AveragePooling1D(2)(layers.DepthwiseConv1D(3)(x))
    x = layers.Conv1DTranspose(4, 3, 2, padding="same")(x)
    check(keras.Model(i, layers.Dense(3)(layers.GlobalMaxPooling1D()(x))))


def test_channels_first_model():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow's CPU convolutions are channels-last only")
    x = i = keras.Input((3, 12, 10))
    x = layers.Conv2D(4, 3, data_format="channels_first", activation="relu")(x)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(x)
    check(keras.Model(i, layers.GlobalAveragePooling2D(data_format="channels_first")(x)), 0)


def test_transformer():
    i = keras.Input((11,), dtype="int32", name="ids")
    x = layers.Embedding(10, 16)(i)
    y = layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(epsilon=1e-5)(x + y)
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    check(keras.Model(i, layers.Dense(4)(layers.GlobalAveragePooling1D()(x))))


def test_nested_and_shared_models():
    block = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same"), layers.ReLU()], name="block"
    )
    j = keras.Input((8, 8, 4))
    inner = keras.Model(j, layers.Add()([block(j), j]), name="inner")
    x = i = keras.Input((8, 8, 4))
    graph = check(keras.Model(i, inner(block(inner(x)))))
    assert sum(e.is_constant for e in graph.edges) == 2


def test_several_inputs_and_outputs():
    a, b = keras.Input((6, 6, 2), name="picture"), keras.Input((5,), name="vector")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(a))
    y = layers.Concatenate()([x, layers.Dense(4)(b)])
    graph = check(
        keras.Model([a, b], [layers.Dense(3, name="class")(y), layers.Dense(2, name="box")(y)])
    )
    assert [e.name for e in graph.inputs] == ["picture", "vector"]
    assert [e.name for e in graph.outputs] == ["class", "box"]


def test_operations_between_layers():
    x = i = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255, -0.5)(x))
    x = keras.ops.relu(x) * 0.5 + 1.0 - x / 2.0
    x = keras.ops.mean(x, axis=(1, 2))
    check(keras.Model(i, keras.ops.sigmoid(-x)))


def test_grouped_depthwise_field_of_old_files(tmp_path):
    """TensorFlow's Keras 2 wrote `groups` for layers where Keras 3 refuses it."""
    import json

    import h5py

    model = randomized(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.DepthwiseConv2D(3, padding="same"),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )
    )
    path = tmp_path / "old.h5"
    model.save(path)
    with h5py.File(path, "r+") as h5:
        config = json.loads(h5.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
        h5.attrs["model_config"] = json.dumps(config)
    x = inputs_of(model)[0]
    np.testing.assert_allclose(
        tersor.Session(tersor.load(path))(x), model.predict(x, verbose=0), atol=1e-5
    )


def test_keras_file(tmp_path):
    model = randomized(keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")]))
    model.save(tmp_path / "net.keras")
    x = inputs_of(model)[0]
    np.testing.assert_allclose(
        tersor.Session(tersor.load(tmp_path / "net.keras"))(x),
        model.predict(x, verbose=0),
        atol=1e-6,
    )


def test_errors(tmp_path):
    with pytest.raises(
        tersor.UnsupportedError, match=r"layer 'lstm' \(LSTM\) is not supported; supported layers"
    ):
        tersor.from_keras(keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="lstm")]))
    with pytest.raises(tersor.UnsupportedError, match=r"leaves dimension 1 open.*shapes="):
        tersor.from_keras(keras.Sequential([keras.Input((None, 3), name="x"), layers.Conv1D(2, 1)]))
    graph = tersor.from_keras(
        keras.Sequential([keras.Input((None, 3), name="x"), layers.Conv1D(2, 1)]),
        shapes={"x": (None, 7, 3)},
    )
    assert tuple(graph.outputs[0].shape) == (None, 7, 2)
    with pytest.raises(tersor.UnsupportedError, match="not built"):
        tersor.from_keras(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match=r"keras\.Model"):
        tersor.from_keras("network.h5")
    for name in ("broken.h5", "broken.keras"):
        (tmp_path / name).write_bytes(b"not a network")
        with pytest.raises(tersor.ImportFormatError, match=name):
            tersor.load(tmp_path / name)
