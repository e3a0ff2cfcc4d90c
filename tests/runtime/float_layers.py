"""One float layer (with or without a residual) as a network, and its exact result in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import tersor

Floats = NDArray[np.float32]
EPS = float(np.finfo(np.float32).eps)
ACTIVATIONS = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


@dataclass(frozen=True)
class Layer:
    """conv (`transposed` or not) of `inputs` to `outputs` channels in one or two dimensions."""

    size: tuple[int, ...] = (9, 7)
    inputs: int = 5
    outputs: int = 6
    kernel: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] = (1, 1)
    dilations: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (1, 1, 1, 1)
    output_padding: tuple[int, ...] = (0, 0)
    groups: int = 1
    transposed: bool = False
    bias: bool = True
    residual: bool = False
    activation: str = "relu"
    batch: int = 1
    seed: int = 0

    @property
    def output_size(self) -> tuple[int, ...]:
        rank = len(self.size)
        sizes = []
        for i in range(rank):
            pads = self.pads[i] + self.pads[rank + i]
            reach = self.dilations[i] * (self.kernel[i] - 1) + 1
            if self.transposed:
                extra = reach + self.output_padding[i] - pads
                sizes.append((self.size[i] - 1) * self.strides[i] + extra)
            else:
                sizes.append((self.size[i] + pads - reach) // self.strides[i] + 1)
        return tuple(sizes)

    @property
    def valid(self) -> bool:
        if self.residual and self.activation == "relu6":
            return False  # relu6 hides most of a residual
        return min(self.output_size) > 0

    def values(self) -> list[Floats | None]:
        """Input, weights, bias or None, residual or None."""
        rng = np.random.default_rng(self.seed)

        def draw(*shape: int) -> Floats:
            return rng.normal(size=shape).astype(np.float32)

        x = draw(self.batch, self.inputs, *self.size)
        if self.transposed:
            w = draw(self.inputs, self.outputs // self.groups, *self.kernel)
        else:
            w = draw(self.outputs, self.inputs // self.groups, *self.kernel)
        b = draw(self.outputs) if self.bias else None
        r = draw(self.batch, self.outputs, *self.output_size) if self.residual else None
        return [x, w, b, r]

    def graph(self) -> Any:
        x, w, b, r = self.values()
        assert x is not None
        assert w is not None
        graph = tersor.Graph()
        inputs = [graph.add_input("x", "float32", (None, *x.shape[1:])), graph.add_constant("w", w)]
        if b is not None:
            inputs.append(graph.add_constant("b", b))
        attributes = {
            "strides": list(self.strides),
            "pads": list(self.pads),
            "dilations": list(self.dilations),
            "groups": self.groups,
            "activation": "none" if r is not None else self.activation,
        }
        if self.transposed:
            attributes["output_padding"] = list(self.output_padding)
        y = graph.add_node(
            "conv_transpose" if self.transposed else "conv", inputs, attributes, "layer", "y"
        )
        if r is not None:
            residual = graph.add_input("r", "float32", (None, *r.shape[1:]))
            y = graph.add_node("add", [y, residual], {"activation": self.activation}, "sum", "z")
        graph.set_outputs([y])
        return graph

    def run(self, **options: Any) -> Floats:
        x, _, _, r = self.values()
        given = [x] if r is None else [x, r]
        return tersor.Session(self.graph(), **options)(*given)

    def kernel_name(self, **options: Any) -> str:
        x, _, _, r = self.values()
        given = [x] if r is None else [x, r]
        profile = tersor.Session(self.graph(), **options).profile(*given, repeats=1)
        return next(row.kernel for row in profile if row.node.startswith("layer"))

    def truth(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The result in float64, and for each value the sum of |input * weight| behind it."""
        import torch

        x, w, b, r = [
            None if v is None else torch.from_numpy(v.astype(np.float64)) for v in self.values()
        ]
        rank = len(self.size)
        name = f"conv{'_transpose' if self.transposed else ''}{rank}d"
        function = getattr(torch.nn.functional, name)

        def convolve(x: Any, w: Any) -> Any:
            arguments: dict[str, Any] = {"stride": self.strides, "dilation": self.dilations}
            arguments["groups"] = self.groups
            if not self.transposed:
                before = [
                    p for i in reversed(range(rank)) for p in (self.pads[i], self.pads[rank + i])
                ]
                return function(torch.nn.functional.pad(x, before), w, **arguments)
            # Without padding, but long enough for the rows that output_padding adds; then cropped.
            y = torch.nn.functional.pad(
                function(x, w, **arguments),
                [p for i in reversed(range(rank)) for p in (0, self.output_padding[i])],
            )
            for i, size in enumerate(self.output_size):
                y = y.narrow(2 + i, self.pads[i], size)
            return y

        y, magnitude = convolve(x, w), convolve(x.abs(), w.abs())
        if b is not None:
            y = y + b.reshape(-1, *[1] * rank)
        if r is not None:
            y = y + r
        y = y.clamp(*ACTIVATIONS[self.activation])
        return y.numpy(), magnitude.numpy()


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Any convolution that fits in a few microseconds, the special ones often."""
    rank = draw(st.sampled_from([2, 2, 2, 1]))

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(rank))

    form = draw(
        st.sampled_from(["any", "depthwise", "pointwise", "winograd", "grouped", "transposed"])
    )
    transposed = form == "transposed"
    groups = 1
    inputs, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    kernel, strides, dilations = (
        each(st.integers(1, 4)),
        each(st.integers(1, 3)),
        each(st.integers(1, 2)),
    )
    pads = (*each(st.integers(0, 3)), *each(st.integers(0, 3)))
    if form == "depthwise":
        groups = inputs = outputs = draw(st.integers(2, 37))
        kernel = each(st.sampled_from([3, 5])) if draw(st.booleans()) else kernel
        dilations = (1,) * rank if draw(st.booleans()) else dilations
    elif form == "pointwise":
        kernel, pads = (1,) * rank, (0,) * (2 * rank)
    elif form == "winograd":
        kernel, strides, dilations = (3,) * rank, (1,) * rank, (1,) * rank
        inputs, outputs = draw(st.integers(8, 20)), draw(st.integers(8, 40))
    elif form == "grouped":
        groups = draw(st.integers(2, 4))
        inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 20))
    extra = each(st.integers(0, 1)) if transposed else (0,) * rank
    output_padding = tuple(
        min(e, max(s, d) - 1) for e, s, d in zip(extra, strides, dilations, strict=True)
    )
    return Layer(
        size=each(st.integers(1, 14)),
        inputs=inputs,
        outputs=outputs,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=output_padding,
        groups=groups,
        transposed=transposed,
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        batch=draw(st.sampled_from([1, 1, 2, 3])),
        seed=draw(st.integers(0, 2**16)),
    )


# Layers of real networks, and one of every kind of kernel.
NAMED = {
    "stem": Layer((33, 33), 3, 32, (3, 3), (2, 2), activation="relu6"),
    "stem7": Layer((37, 29), 3, 17, (7, 7), (2, 2), pads=(3, 3, 3, 3)),
    "resnet16": Layer((32, 32), 16, 16, residual=True),
    "resnet64": Layer((8, 8), 64, 64, residual=True),
    "winograd-odd": Layer((7, 13), 40, 27, batch=3),
    "down": Layer((32, 32), 16, 32, strides=(2, 2)),
    "expand": Layer((28, 28), 16, 96, (1, 1), pads=(0, 0, 0, 0), activation="relu6"),
    "project": Layer((14, 14), 96, 24, (1, 1), pads=(0, 0, 0, 0), activation="none", residual=True),
    "depthwise": Layer((28, 28), 48, 48, groups=48, activation="relu6"),
    "depthwise-stride": Layer((29, 28), 45, 45, strides=(2, 2), groups=45),
    "depthwise5": Layer((14, 14), 33, 33, (5, 5), pads=(2, 2, 2, 2), groups=33),
    "depthwise5-stride": Layer((15, 14), 33, 33, (5, 5), (2, 2), pads=(2, 2, 2, 2), groups=33),
    "depthwise-multiplier": Layer((9, 9), 6, 12, groups=6),
    "dilated": Layer((20, 20), 12, 20, dilations=(2, 3), pads=(2, 3, 2, 3)),
    "one-dimension": Layer((50,), 9, 18, (5,), (2,), (1,), (2, 2), (0,)),
    "transposed": Layer((10, 11), 12, 20, (4, 4), (2, 2), transposed=True),
    "transposed-grouped": Layer(
        (5, 6), 8, 12, (3, 2), (2, 3), output_padding=(1, 2), groups=4, transposed=True
    ),
    "wide-padding": Layer((4, 4), 9, 10, pads=(5, 4, 3, 5)),
    "one-pixel": Layer((1, 1), 300, 70, (1, 1), pads=(0, 0, 0, 0)),
    "large-weights": Layer((7, 7), 200, 160, strides=(2, 2)),
}


def bound(
    layer: Layer, kernel: str, magnitude: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Largest error that the headers allow, for sums of `magnitude` = sum |input * weight|."""
    if "winograd" in kernel:
        # winograd_float32.h: 1.5e-6 of a layer's largest result.
        return np.full(y.shape, 1.5e-6 * (magnitude.max() + 1))
    terms = np.prod(layer.kernel) * layer.inputs // layer.groups
    return (terms + 4) * EPS * (magnitude + 1) + 2 * EPS * np.abs(y)


def check(layer: Layer, **options: Any) -> None:
    """Compare a session with the truth; `options` are its own."""
    y, magnitude = layer.truth()
    got = layer.run(**options)
    kernel = layer.kernel_name(**options)
    assert got.shape == y.shape
    error = np.abs(got - y)
    assert (error <= bound(layer, kernel, magnitude, y)).all(), (kernel, error.max())
