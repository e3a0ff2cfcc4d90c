"""Random int8 graphs with every operator that generated C has a kernel for."""

from __future__ import annotations

import numpy as np

import tersor
from tests.networks import Int8Builder, qparams


class RandomGraph(Int8Builder):
    """A chain of random layers with branches; input and outputs are int8 codes."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.count = 0

    def pick(self, *values):
        return values[self.rng.integers(len(values))]

    def shape(self, edge):
        return self.graph.edges[edge].shape

    def fresh(self, scale=None, zero=None):
        scale = float(self.rng.uniform(0.01, 0.1)) if scale is None else scale
        return qparams(np.float32(scale), int(self.rng.integers(-60, 60)) if zero is None else zero)

    def make(self, op, *inputs, q=None, **attributes):
        self.count += 1
        name = f"{op}{self.count}"
        return self.graph.add_node(op, list(inputs), attributes, name, name, qparams=q)

    def same(self, x):
        return self.graph.edges[x].qparams

    def activation(self):
        return self.pick("none", "none", "relu", "relu6")

    def start(self, shape, q=None):
        x = self.graph.add_input("x", "int8", (None, *shape))
        self.graph.set_qparams(x, q or self.fresh())
        return x

    # ---- one random layer each

    def conv(self, x):
        c, h, w = self.shape(x)[1:]
        kernel = [
            int(self.rng.integers(1, min(5, h + 1))),
            int(self.rng.integers(1, min(5, w + 1))),
        ]
        groups = self.pick(1, 1, 1, *(g for g in (2, 3) if c % g == 0))
        outputs = groups * int(self.rng.integers(1, 9))
        dilations = [self.pick(1, 1, 2), self.pick(1, 1, 2)]
        pads = [int(self.rng.integers(0, k)) for k in (*kernel, *kernel)]
        for axis, size in enumerate((h, w)):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            if size + pads[axis] + pads[axis + 2] < reach:
                dilations[axis] = 1
        return self.affine(
            "conv", x, (outputs, c // groups, *kernel), groups=groups, pads=pads,
            dilations=dilations, strides=[self.pick(1, 1, 2), self.pick(1, 1, 2)],
        )  # fmt: skip

    def pointwise(self, x):
        return self.affine("conv", x, (int(self.rng.integers(1, 17)), self.shape(x)[1], 1, 1))

    def depthwise(self, x):
        c = self.shape(x)[1]
        times = self.pick(1, 1, 1, 2)
        return self.affine(
            "conv", x, (c * times, 1, 3, 3), groups=c, pads=[1, 1, 1, 1],
            strides=[self.pick(1, 2), 1],
        )  # fmt: skip

    def affine(self, op, x, weight_shape, **attributes):
        self.count += 1
        q = self.fresh(scale=float(self.rng.uniform(0.02, 0.6)))
        return self.layer(
            op, x, weight_shape, np.float32(q.scale[0]), int(q.zero_point[0]), f"{op}{self.count}",
            activation=self.activation(), **attributes,
        )  # fmt: skip

    def residual(self, x):
        c = self.shape(x)[1]
        inner = self.pick(x, self.affine("conv", x, (c, c, 1, 1)))
        y = self.affine("conv", inner, (c, c, 3, 3), pads=[1, 1, 1, 1])
        parts = [y, x] if self.pick(0, 1) else [x, y]
        return self.make("add", *parts, q=self.fresh(), activation=self.activation())

    def binary(self, x):
        op = self.pick("add", "sub", "mul")
        other = self.table(x)
        return self.make(op, x, other, q=self.fresh(), activation=self.activation())

    def by_channel(self, x):
        c = self.shape(x)[1]
        gate = self.make("reduce_mean", x, axes=[2, 3], keepdims=1, q=self.fresh())
        if self.pick(0, 1):
            return self.make("mul", x, gate, q=self.fresh(), activation="none")
        codes = self.rng.integers(-128, 128, size=(1, c, 1, 1)).astype(np.int8)
        constant = self.graph.add_constant(f"k{self.count}", codes, "", self.fresh())
        return self.make("add", x, constant, q=self.fresh(), activation="none")

    def table(self, x):
        op = self.pick("relu", "hard_swish", "requantize", "sigmoid", "tanh", "clip", "gelu")
        q = {"sigmoid": self.fresh(1 / 256, -128), "tanh": self.fresh(1 / 128, 0)}.get(op)
        extra = {"min": -0.5, "max": 1.0} if op == "clip" else {}
        return self.make(op, x, q=q or self.fresh(), **extra)

    def pool(self, x):
        h, w = self.shape(x)[2:]
        if min(h, w) < 3:
            return x
        op = self.pick("max_pool", "avg_pool")
        extra = {"count_include_pad": self.pick(0, 1)} if op == "avg_pool" else {}
        pads = [self.pick(0, 1), self.pick(0, 1), self.pick(0, 1), self.pick(0, 1)]
        return self.make(
            op, x, kernel=[self.pick(2, 3), 2], strides=[self.pick(1, 2), self.pick(1, 2)],
            pads=pads, ceil_mode=self.pick(0, 1), q=self.same(x), **extra,
        )  # fmt: skip

    def join(self, x):
        other = self.make("max_pool", x, kernel=[1, 1], q=self.same(x))
        return self.make("concat", x, other, x, axis=self.pick(1, 2, -1), q=self.same(x))

    def cut(self, x):
        c, h, w = self.shape(x)[1:]
        if min(c, h, w) < 3:
            return x
        return self.make(
            "slice", x, axes=[1, 2, 3], starts=[1, 0, 1], ends=[c, h, w],
            steps=[1, self.pick(1, 2), 1], q=self.same(x),
        )  # fmt: skip

    def pad(self, x):
        pads = [0, *(int(p) for p in self.rng.integers(0, 2, 3))]
        return self.make("pad", x, pads=[*pads, 0, 0, 1, 0], value=0.1, q=self.same(x))

    def turn(self, x):
        y = self.make("transpose", x, perm=[0, 1, 3, 2], q=self.same(x))
        return self.make("requantize", y, q=self.fresh()) if self.pick(0, 1) else y

    def finish(self, x):
        kind = self.pick("flat", "mean", "max", "softmax", "rows", "image")
        if kind == "image":
            return x
        c, h, w = self.shape(x)[1:]
        if kind == "softmax":
            q = self.fresh(1 / 256, -128)
            return self.make("softmax", x, axis=self.pick(1, 2, 3), q=q)
        if kind == "rows":
            y = self.make("reshape", x, shape=[-1, c, h * w], q=self.same(x))
            return self.affine("dense", y, (5, h * w))
        if kind == "flat":
            y = self.make("reshape", x, shape=[-1, c * h * w], q=self.same(x))
        elif kind == "mean":
            y = self.make("reduce_mean", x, axes=[2, 3], keepdims=0, q=self.fresh())
        else:
            y = self.make("reduce_max", x, axes=[1, 3], keepdims=0, q=self.same(x))
        y = self.affine("dense", y, (7, self.shape(y)[1]))
        return self.make("softmax", y, axis=1, q=self.fresh(1 / 256, -128))


LAYERS = ("conv", "pointwise", "depthwise", "residual", "binary", "by_channel", "table", "pool",
          "join", "cut", "pad", "turn")  # fmt: skip


def random_graph(seed: int) -> tersor.Graph:
    """Four to seven random layers on an image, and an end; all edges int8."""
    b = RandomGraph(seed)
    x = b.start((int(b.rng.integers(1, 9)), int(b.rng.integers(3, 9)), int(b.rng.integers(3, 9))))
    for _ in range(int(b.rng.integers(4, 8))):
        x = getattr(b, LAYERS[b.rng.integers(len(LAYERS))])(x)
    return b.done(b.finish(x))


def codes(graph: tersor.Graph, count: int, seed: int = 0) -> np.ndarray:
    """Random int8 codes for the only input of a graph."""
    shape = graph.inputs[0].shape[1:]
    return np.random.default_rng(seed).integers(-128, 128, size=(count, *shape)).astype(np.int8)


def inverted_residuals(height: int, width: int, seed: int = 0) -> tersor.Graph:
    """MobileNetV2 in small: expand, depthwise, project, with and without a residual."""
    b = RandomGraph(seed)
    x = b.start((3, height, width))
    x = b.affine("conv", x, (8, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    for stride, outputs in ((1, 8), (2, 12), (1, 12), (1, 12), (2, 20), (1, 20)):
        channels = b.shape(x)[1]
        y = b.affine("conv", x, (4 * channels, channels, 1, 1))
        y = b.affine(
            "conv", y, (4 * channels, 1, 3, 3), groups=4 * channels, pads=[1, 1, 1, 1],
            strides=[stride, stride],
        )  # fmt: skip
        y = b.affine("conv", y, (outputs, 4 * channels, 1, 1))
        if stride == 1 and channels == outputs:
            y = b.make("add", x, y, q=b.fresh(), activation="none")
        x = y
    x = b.make("reduce_mean", x, axes=[2, 3], keepdims=0, q=b.fresh())
    return b.done(b.affine("dense", x, (10, b.shape(x)[1])))
