"""Small graphs for tests of the runtime, in float and in int8."""

from __future__ import annotations

import numpy as np

import tersor
from tersor import _core


class Builder:
    """A graph under construction with weights from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = tersor.Graph()
        self.rng = np.random.default_rng(seed)

    def floats(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return np.asarray(self.rng.normal(size=shape) * scale, np.float32)

    def input(self, shape, name="x", dtype="float32"):
        return self.graph.add_input(name, dtype, (None, *shape))

    def constant(self, name, value):
        return self.graph.add_constant(name, np.asarray(value))

    def node(self, op, *inputs, name="", **attributes):
        return self.graph.add_node(op, list(inputs), attributes, name, name)

    def channels(self, edge):
        return self.graph.edges[edge].shape[1]

    def conv(self, x, outputs, kernel=3, name="conv", **attributes):
        groups = attributes.get("groups", 1)
        inputs = self.channels(x) // groups
        rank = len(self.graph.edges[x].shape) - 2
        attributes.setdefault("pads", [kernel // 2] * (2 * rank))
        w = self.constant(
            f"{name}.weight", self.floats(outputs, inputs, *[kernel] * rank, scale=0.3)
        )
        b = self.constant(f"{name}.bias", self.floats(outputs, scale=0.1))
        return self.node("conv", x, w, b, name=name, **attributes)

    def dense(self, x, outputs, name="dense", **attributes):
        w = self.constant(f"{name}.weight", self.floats(outputs, self.graph.edges[x].shape[-1]))
        b = self.constant(f"{name}.bias", self.floats(outputs))
        return self.node("dense", x, w, b, name=name, **attributes)

    def done(self, *outputs):
        self.graph.set_outputs(list(outputs))
        self.graph.verify()
        return self.graph


def residual_network(channels=8, size=8, seed=0):
    """Stem, two residual blocks (one strided with a projection), mean, classifier."""
    b = Builder(seed)
    x = b.input((3, size, size))
    stem = b.conv(x, channels, name="stem", activation="relu")
    y = b.conv(stem, channels, name="a1", activation="relu")
    y = b.conv(y, channels, name="a2")
    y = b.node("add", y, stem, name="a_add", activation="relu")
    z = b.conv(y, 2 * channels, name="b1", strides=[2, 2], activation="relu")
    z = b.conv(z, 2 * channels, name="b2")
    shortcut = b.conv(y, 2 * channels, 1, name="b_short", strides=[2, 2], pads=[0, 0, 0, 0])
    z = b.node("add", z, shortcut, name="b_add", activation="relu")
    mean = b.node("reduce_mean", z, name="mean", axes=[2, 3], keepdims=0)
    return b.done(b.dense(mean, 10, name="logits"))


def qparams(scale, zero_point=0, **options):
    return _core.quantization.QParams(
        scale=np.atleast_1d(scale).tolist(),
        zero_point=np.atleast_1d(zero_point).tolist(),
        **options,
    )


class Int8Builder(Builder):
    """Layers with int8 weights per output channel and int32 biases."""

    def quantize(self, x, scale, zero_point, name="quantize"):
        return self.graph.add_node(
            "quantize", [x], {}, name, name, qparams=qparams(scale, zero_point)
        )

    def layer(self, op, x, weight_shape, scale, zero_point, name, **attributes):
        outputs = weight_shape[0]
        w = self.rng.integers(-127, 128, size=weight_shape).astype(np.int8)
        fan_in = int(np.prod(weight_shape[1:]))
        ws = self.rng.uniform(0.5, 1.5, outputs).astype(np.float32) / (64 * np.sqrt(fan_in))
        xs = float(self.graph.edges[x].qparams.scale[0])
        weight = self.graph.add_constant(
            f"{name}.weight", w, "", qparams(ws, np.zeros(outputs, int), narrow=True, axis=0)
        )
        bias = self.graph.add_constant(
            f"{name}.bias",
            self.rng.integers(-2000, 2000, size=outputs).astype(np.int32),
            "",
            qparams(np.float32(xs) * ws, np.zeros(outputs, int), axis=0, bits=32),
        )
        return self.graph.add_node(
            op, [x, weight, bias], attributes, name, name, qparams=qparams(scale, zero_point)
        )

    def conv8(self, x, outputs, scale, zero_point, name, kernel=3, **attributes):
        inputs = self.channels(x) // attributes.get("groups", 1)
        attributes.setdefault("pads", [kernel // 2] * 4)
        shape = (outputs, inputs, kernel, kernel)
        return self.layer("conv", x, shape, scale, zero_point, name, **attributes)

    def add8(self, a, b, scale, zero_point, name, **attributes):
        return self.graph.add_node(
            "add", [a, b], attributes, name, name, qparams=qparams(scale, zero_point)
        )


def int8_residual_network(channels=16, size=8, seed=0):
    """The int8 twin of `residual_network`, float in and out."""
    b = Int8Builder(seed)
    x = b.quantize(b.input((3, size, size)), 0.03, -5)
    stem = b.conv8(x, channels, 0.02, -128, "stem", activation="relu")
    y = b.conv8(stem, channels, 0.02, -128, "a1", activation="relu")
    y = b.conv8(y, channels, 0.03, 7, "a2")
    y = b.add8(y, stem, 0.04, -128, "a_add", activation="relu")
    z = b.conv8(y, 2 * channels, 0.03, -128, "b1", strides=[2, 2], activation="relu")
    z = b.conv8(z, 2 * channels, 0.03, 3, "b2")
    shortcut = b.conv8(y, 2 * channels, 0.03, -9, "b_short", 1, strides=[2, 2], pads=[0, 0, 0, 0])
    z = b.add8(z, shortcut, 0.05, -128, "b_add", activation="relu")
    mean = b.graph.add_node(
        "reduce_mean",
        [z],
        {"axes": [2, 3], "keepdims": 0},
        "mean",
        "mean",
        qparams=qparams(0.05, -128),
    )
    logits = b.layer("dense", mean, (10, 2 * channels), 0.1, 4, "logits8")
    return b.done(b.node("dequantize", logits, name="logits"))


def images(batch, size=8, channels=3, seed=1):
    return np.random.default_rng(seed).normal(size=(batch, channels, size, size)).astype(np.float32)
