"""Images as bytes in: what happens to a sample before the network becomes its first layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import UnsupportedError
from ..data.preprocess import Preprocess
from ..graph.graph import Graph
from ..quantization import requantize


def byte_input(model: Any) -> Graph:
    """Give a network an input of bytes: scale, mean and std become its first layer.

    In an int8 network that layer is a depthwise 1 x 1 convolution of int8, so that nothing is
    computed in float: one weight, scale and int32 bias per channel, chosen so that the 256 codes
    are those of `Preprocess` and rounding wherever integers can do that.

    Parameters
    ----------
    model : Graph or CompressedModel
        With one input of images, and with preprocessing (`graph.preprocess`).

    Returns
    -------
    Graph
        Its input are the stored images in their layout, (N, height, width, channels) unless the
        preprocessing says otherwise, of the size that the network wants: int8 codes that stand for
        byte - 128 (scale 1, zero point -128) in an int8 network, else uint8. A session takes bytes
        for both, and a TFLite or ONNX file has a uint8 input.

    Raises
    ------
    UnsupportedError
        If the network has no preprocessing, several inputs, or one that is no float image.
    """
    source = getattr(model, "graph", model)
    prepare = Preprocess.parse(source.preprocess or None)
    if prepare is None:
        raise UnsupportedError("byte_input: model must have preprocessing, got none")
    if len(source.inputs) != 1:
        raise UnsupportedError(f"byte_input: model must have one input, got {len(source.inputs)}")
    edge = source.inputs[0]
    if edge.dtype != "float32" or len(edge.shape) != 4:
        raise UnsupportedError(
            f"byte_input: input must be float32 images, got {edge.dtype} {edge.shape}"
        )
    return _Rewriter(source, prepare).run()


class _Rewriter:
    def __init__(self, source: Graph, prepare: Preprocess) -> None:
        self.source, self.prepare, self.edges = source, prepare, source.edges
        self.graph = Graph()
        self.graph.description = source.description
        self.new: dict[int, int] = {-1: -1}

    def run(self) -> Graph:
        first = self.source.input_ids[0]
        users = [n for n in self.source.nodes if first in n.inputs]
        quantizer = users[0] if len(users) == 1 and users[0].op == "quantize" else None
        made = self._first_layer(first, quantizer)
        skipped = None
        if quantizer is None:
            self.new[first] = made
        else:
            self.new[quantizer.outputs[0]] = made
            skipped = quantizer.name
        for node in self.source.nodes:
            if node.name != skipped:
                self._copy(node)
        self.graph.set_outputs([self.new[i] for i in self.source.output_ids])
        self.graph.verify()
        return self.graph

    def _copy(self, node: Any) -> None:
        inputs = [self._edge(i) for i in node.inputs]
        out = self.edges[node.outputs[0]]
        made = self.graph.add_node(
            node.op, inputs, node.attributes, node.name, out.name, qparams=out.qparams
        )
        self.graph.set_origin(made, out.origin)
        self.new[node.outputs[0]] = made

    def _edge(self, index: int) -> int:
        if index not in self.new:
            e: Any = self.edges[index]
            self.new[index] = self.graph.add_constant(e.name, e.constant, e.origin, e.qparams)
        return self.new[index]

    def _first_layer(self, first: int, quantizer: Any) -> int:
        e: Any = self.edges[first]
        wanted = self.prepare.layout or self.prepare.source_layout
        c = int(e.shape[1 if wanted == "NCHW" else 3])
        h, w = (int(d) for d in (e.shape[2:] if wanted == "NCHW" else e.shape[1:3]))
        given = self.prepare.source_layout
        shape = (None, c, h, w) if given == "NCHW" else (None, h, w, c)
        table = self.prepare.table(c).astype(np.float64)
        factor, offset = (table[:, 255] - table[:, 0]) / 255, table[:, 0]
        if quantizer is None:
            x = self.graph.add_input(e.name, "uint8", shape)
            x = self._channels_first(self.graph.add_node("cast", [x], {"to": "float32"}), given)
            x = self._float(x, factor, offset)
        else:
            q = self.edges[quantizer.outputs[0]].qparams
            x = self.graph.add_input(e.name, "int8", shape)
            self.graph.set_qparams(x, _parameters([1.0], [-128]))
            x = self._codes(self._channels_first(x, given), factor, offset, q)
        return x if wanted == "NCHW" else self._moved(x, [0, 2, 3, 1])

    def _moved(self, x: int, perm: list[int]) -> int:
        q = self.graph.edge(x).qparams
        return int(self.graph.add_node("transpose", [x], {"perm": perm}, qparams=q))

    def _channels_first(self, x: int, layout: str) -> int:
        return x if layout == "NCHW" else self._moved(x, [0, 3, 1, 2])

    def _float(self, x: int, factor: NDArray[Any], offset: NDArray[Any]) -> int:
        weight = factor.astype(np.float32).reshape(-1, 1, 1, 1)
        inputs = [
            x,
            self.graph.add_constant("preprocess.weight", weight),
            self.graph.add_constant("preprocess.bias", offset.astype(np.float32)),
        ]
        return int(self.graph.add_node("conv", inputs, {"groups": len(factor)}, "preprocess"))

    def _codes(self, x: int, factor: NDArray[Any], offset: NDArray[Any], output: Any) -> int:
        """Bytes are codes of scale 1: one product for each, and a bias."""
        if (factor == 0).any():
            raise UnsupportedError("byte_input: scale of the preprocessing must not be 0")
        table = self.prepare.table(len(factor))
        wanted = np.rint(table / np.float32(output.scale[0]))
        wanted = np.clip(wanted + output.zero_point[0], -128, 127)
        found = [_fit(*row, output) for row in zip(factor, offset, wanted, strict=True)]
        codes = np.asarray([w for w, _, _ in found], np.int8).reshape(-1, 1, 1, 1)
        bias = np.asarray([b for _, b, _ in found], np.int32)
        scale = [s for _, _, s in found]
        zeros = [0] * len(scale)
        axis = 0 if len(scale) > 1 else None
        weight = _parameters(scale, zeros, axis=axis, narrow=True)
        wide = _parameters(scale, zeros, axis=axis, bits=32)
        inputs = [
            x,
            self.graph.add_constant("preprocess.weight", codes, "", weight),
            self.graph.add_constant("preprocess.bias", bias, "", wide),
        ]
        attributes = {"groups": len(scale)}
        return int(self.graph.add_node("conv", inputs, attributes, "preprocess", qparams=output))


def _fit(factor: float, offset: float, wanted: NDArray[Any], output: Any) -> tuple[int, int, float]:
    """Weight, bias and scale of a channel whose codes for the 256 bytes are the wanted ones.

    The product and its bias are integers, so that single bytes near a tie may go to the other
    side; another weight, or a bias one off, moves the ties.
    """
    best, least = (0, 0, 0.0), 1 << 30
    for size in range(127, 63, -1):
        scale = float(np.float32(abs(factor) / size))
        weight = int(math.copysign(size, factor))
        exact = offset / scale
        if abs(exact) >= 1 << 30:
            raise UnsupportedError("byte_input: mean of the preprocessing is beyond 32 bits")
        for bias in (round(exact) + d for d in (0, -1, 1)):
            sums = np.arange(256) * weight + bias
            off = 0
            for arithmetic in ("fast", "exact"):
                codes = requantize(
                    sums, scale / float(output.scale[0]), int(output.zero_point[0]),
                    arithmetic=arithmetic,
                )  # fmt: skip
                off += int((codes != wanted).sum())
            if off < least:
                best, least = (weight, bias, scale), off
            if not off:
                return best
    return best


def _parameters(scale: Any, zero_point: Any, **options: Any) -> Any:
    return _core.quantization.QParams(
        scale=[float(s) for s in scale], zero_point=[int(z) for z in zero_point], **options
    )


__all__ = ["byte_input"]
