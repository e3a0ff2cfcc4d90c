"""Operators between layers that round their result: sums, products, means, functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .._core.codegen import unary_table
from .._core.graph import Graph
from .._core.quantization import QParams
from . import int8_arithmetic as int8
from .fake_quantize import ActivationQuantizer

Attributes = Mapping[str, Any]


def _hard_swish(_: Attributes, x: torch.Tensor) -> torch.Tensor:
    inner = x * (x / 6 + 0.5)
    return torch.where(x <= -3, torch.zeros_like(x), torch.where(x >= 3, x, inner))


def _gelu(attributes: Attributes, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate=str(attributes.get("approximate", "none")))


def _sigmoid(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x)


# Of one operand; the session has a table of 256 entries for each.
UNARY: dict[str, Callable[[Attributes, torch.Tensor], torch.Tensor]] = {
    "relu": lambda a, x: F.relu(x),
    "clip": lambda a, x: torch.clamp(x, a["min"], a["max"]),
    "leaky_relu": lambda a, x: F.leaky_relu(x, a["alpha"]),
    "elu": lambda a, x: F.elu(x, a["alpha"]),
    "sigmoid": lambda a, x: _sigmoid(x),
    "hard_sigmoid": lambda a, x: torch.clamp(a["alpha"] * x + a["beta"], 0, 1),
    "hard_swish": _hard_swish,
    "silu": lambda a, x: x * _sigmoid(x),
    "gelu": _gelu,
    "tanh": lambda a, x: torch.tanh(x),
    "erf": lambda a, x: torch.erf(x),
    "exp": lambda a, x: torch.exp(x),
    "neg": lambda a, x: -x,
    "abs": lambda a, x: torch.abs(x),
    "softplus": lambda a, x: F.softplus(x),
}
_INTEGERS = ("relu", "leaky_relu", "hard_swish")  # the session's tables hold TFLite Micro's
OPERATORS = frozenset({*UNARY, "add", "sub", "mul", "matmul", "reduce_mean", "avg_pool", "softmax"})
_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@torch.library.custom_op("tersor::unary_table", mutates_args=())
def _native_table(parameters: torch.Tensor, kind: str, alpha: float) -> torch.Tensor:
    """Outputs for the codes -128 to 127, less their zero point, as the session has them.

    `parameters` are scale and zero point of the input, then of the output.
    """
    scale, zero, scale_out, zero_out = parameters.tolist()
    graph = Graph()
    x = graph.add_input("x", "float32", (1,))
    q = QParams(scale=[scale], zero_point=[int(zero)])
    codes = graph.add_node("quantize", [x], {}, "codes", qparams=q)
    q = QParams(scale=[scale_out], zero_point=[int(zero_out)])
    attributes = {"alpha": alpha} if kind == "leaky_relu" else {}
    graph.add_node(kind, [codes], attributes, "y", qparams=q)
    codes_out = [code - zero_out for code in unary_table(graph, 1)]
    return torch.tensor(codes_out, dtype=torch.float32, device=parameters.device)


@_native_table.register_fake
def _(parameters: torch.Tensor, *_: object) -> torch.Tensor:
    return parameters.new_empty(256)


class QuantizedOperator(nn.Module):
    """One node whose inputs and output are quantized edges.

    In training it is the float operator; in evaluation it follows the session's integers. The
    output's quantizer comes after it.

    Parameters
    ----------
    kind : str
        Of the native node, one of ``OPERATORS``, or "requantize".
    attributes : mapping
        Of the native node.
    sources : sequence of ActivationQuantizer
    target : ActivationQuantizer
    """

    def __init__(
        self,
        kind: str,
        attributes: Attributes,
        sources: Sequence[ActivationQuantizer],
        target: ActivationQuantizer,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.attributes = dict(attributes)
        self.activation = str(attributes.get("activation", "none"))
        # Not children: the network registers them once, under the edge's name.
        self._ends = (tuple(sources), target)

    @property
    def _sources(self) -> tuple[ActivationQuantizer, ...]:
        return self._ends[0]

    @property
    def _target(self) -> ActivationQuantizer:
        return self._ends[1]

    def forward(self, *operands: torch.Tensor) -> torch.Tensor:
        """Apply the operator.

        Parameters
        ----------
        *operands : torch.Tensor

        Returns
        -------
        torch.Tensor
        """
        if self.training or not self._target.quantizing:
            return self._smooth(operands)
        with torch.autocast(operands[0].device.type, enabled=False):
            wide = [x.float() for x in operands]
            with torch.no_grad():
                y = self._codes(wide)
            if not torch.is_grad_enabled():
                return y
            smooth = self._smooth(wide)
            return smooth + (y - smooth).detach()

    def _smooth(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        x = operands[0]
        if self.kind in UNARY:
            return UNARY[self.kind](self.attributes, x)
        if self.kind == "requantize":
            return x
        if self.kind == "reduce_mean":
            return x.mean(self._axes(x), bool(self.attributes["keepdims"]))
        if self.kind == "avg_pool":
            sums, counts = self._windows(x)
            return sums / counts.clamp(min=1)
        if self.kind == "softmax":
            return torch.softmax(x, int(self.attributes["axis"]))
        if self.kind == "matmul":
            return torch.matmul(x, operands[1])
        other = operands[1]
        y = x * other if self.kind == "mul" else x - other if self.kind == "sub" else x + other
        if self.activation == "relu":
            return F.relu(y)
        return F.relu6(y) if self.activation == "relu6" else y

    def _codes(self, operands: Sequence[torch.Tensor]) -> torch.Tensor:
        device = operands[0].device
        scale, zero = (v.to(device) for v in self._target.parameters_of_codes())
        output = int8.code_limits(scale, zero, self._target.low, self._target.high, self.activation)
        scales = [q.parameters_of_codes()[0].to(device) for q in self._sources]
        codes = [torch.round(x / s) for x, s in zip(operands, scales, strict=True)]
        return self._integers(codes, scales, output) * scale

    def _integers(
        self, codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor], output: int8.Codes
    ) -> torch.Tensor:
        x = codes[0]
        if self.kind in UNARY:
            return self._look_up(x, scales[0], output)
        if self.kind == "requantize":
            ratio = scales[0].double() / output.scale.double()
            return int8.requantize_exactly(x, ratio, output)
        if self.kind == "reduce_mean":
            axes = self._axes(x)
            y = int8.mean(x, scales[0], axes, output)
            if not self.attributes["keepdims"]:
                for axis in sorted(axes, reverse=True):
                    y = y.squeeze(axis)
            return y
        if self.kind == "avg_pool":
            return int8.average(*self._windows(x.double()), output.zero_point)
        if self.kind == "softmax":
            return int8.softmax(x, scales[0], int(self.attributes["axis"]))
        if self.kind == "mul":
            return int8.multiply(x, codes[1], scales[0], scales[1], output)
        if self.kind == "matmul":
            ratio = scales[0].double() * scales[1].double() / output.scale.double()
            return int8.requantize(torch.matmul(x.double(), codes[1].double()), ratio, output)
        sign = -1 if self.kind == "sub" else 1
        return int8.add(x, codes[1], scales[0], scales[1], output, sign)

    def _look_up(self, x: torch.Tensor, scale: torch.Tensor, output: int8.Codes) -> torch.Tensor:
        """Read the table of the function, which is the session's."""
        source, target = self._sources[0], self._target
        zero = source.parameters_of_codes()[1].to(x.device)
        limits = (source.low, source.high, target.low, target.high)
        if self.kind in _INTEGERS and limits == (-128, 127, -128, 127):
            numbers = (scale, zero, output.scale, output.zero_point)
            parameters = torch.stack([v.float() for v in numbers])
            table = _native_table(parameters, self.kind, float(self.attributes.get("alpha", 0)))
        else:
            every = torch.arange(source.low, source.high + 1, device=x.device) - zero.double()
            y = UNARY[self.kind](self.attributes, scale.double() * every) / output.scale.double()
            table = torch.round(y).clamp(output.low.double(), output.high.double()).float()
        found: torch.Tensor = table[(x + (zero - source.low)).long()]
        return found

    def _axes(self, x: torch.Tensor) -> list[int]:
        return [int(axis) % x.dim() for axis in self.attributes["axes"]]

    def _windows(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over windows, and how many values an average divides by."""
        attributes = self.attributes
        kernel = [int(k) for k in attributes["kernel"]]
        rank = len(kernel)
        strides = [int(s) for s in attributes["strides"]] or [1] * rank
        pads = [int(p) for p in attributes["pads"]] or [0] * (2 * rank)
        flat = [p for d in reversed(range(rank)) for p in (pads[d], pads[rank + d])]
        counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        counted = F.pad(counted, flat, value=float(attributes["count_include_pad"]))
        x = F.pad(x, flat)
        size = math.prod(kernel)
        pool = _POOLS[rank]
        return pool(x, kernel, strides) * size, torch.round(pool(counted, kernel, strides) * size)

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        return self.kind


__all__ = ["OPERATORS", "QuantizedOperator"]
