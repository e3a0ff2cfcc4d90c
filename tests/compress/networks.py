"""Small networks for the tests of compression."""

import numpy as np

import tersor


def random(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def residual(collapse=False):
    """Two convolutions with a shortcut, pooling and a classifier; input (N, 3, 16, 16)."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 3, 16, 16))

    def conv(x, out, name, seed, factor=1.0, divisor=1.0, **attributes):
        channels = graph.edge(x).shape[1]
        w = random((out, channels, 3, 3), seed) * (2 / (9 * channels)) ** 0.5
        w = w * np.reshape(factor, (-1, 1, 1, 1)) / np.reshape(divisor, (1, -1, 1, 1))
        b = 0.1 * random(out, seed + 1) * np.reshape(factor, -1)
        inputs = [
            x,
            graph.add_constant(f"{name}.weight", w.astype(np.float32)),
            graph.add_constant(f"{name}.bias", b.astype(np.float32)),
        ]
        return graph.add_node("conv", inputs, {"pads": [1] * 4, **attributes}, name)

    # The same function with channels that reach from 1/32 to 32 times as far.
    scale = 2.0 ** np.linspace(-5, 5, 8) if collapse else np.ones(8)
    stem = conv(x, 8, "stem", 0, activation="relu")
    inner = conv(stem, 8, "inner", 2, factor=scale, activation="relu")
    outer = conv(inner, 8, "outer", 4, divisor=scale)
    joined = graph.add_node("add", [stem, outer], {"activation": "relu"}, "join")
    mean = graph.add_node("reduce_mean", [joined], {"axes": [2, 3], "keepdims": 0}, "mean")
    w, b = random((10, 8), 6), random(10, 7)
    fc = [mean, graph.add_constant("fc.weight", w), graph.add_constant("fc.bias", b)]
    graph.set_outputs([graph.add_node("dense", fc, {}, "fc")])
    graph.verify()
    return graph


def images(count=64, seed=0):
    return random((count, 3, 16, 16), seed)


def decibels(wanted, got):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum())
