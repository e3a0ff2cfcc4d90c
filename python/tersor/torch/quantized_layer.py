"""Convolutions and dense layers of an int8 network, as they train and as they will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import int8_arithmetic as int8
from .fake_quantize import ActivationQuantizer, WeightQuantizer, fake_quantize

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_EXACT_IN_FLOAT = 1 << 24  # integers below are float32 values, and so are their sums
_LEAST_FACTOR = 1e-12


@dataclass(frozen=True)
class Norm:
    """The BatchNorm after a layer.

    Attributes
    ----------
    epsilon : float
    momentum : float or None
        Share of a new batch in the running statistics; None for their mean over all batches.
    """

    epsilon: float
    momentum: float | None

    def share_of(self, count: torch.Tensor | None) -> float:
        """Count a new batch; returns its share in the running statistics.

        Parameters
        ----------
        count : torch.Tensor of int64, shape (), optional
            Batches seen; it grows by one.

        Returns
        -------
        float
        """
        if count is not None:
            count.add_(1)
        if self.momentum is not None:
            return self.momentum
        assert count is not None
        return 1 / float(count)


class QuantizedLayer(nn.Module):
    """A conv, conv_transpose or dense node: fold BatchNorm, round weight and bias, activate.

    Its output is not rounded in training: the edge's quantizer comes after it. In evaluation the
    session's integer arithmetic is followed, whose result that quantizer leaves as it is.

    Parameters
    ----------
    kind : {"conv", "conv_transpose", "dense"}
    attributes : mapping
        Of the native node.
    weight_quantizer : WeightQuantizer
    source, target : ActivationQuantizer
        Of the edges before and after; owned by the network.
    norm : Norm, optional
    kept : torch.Tensor of bool, optional
        False for weights that pruning dropped: they stay 0.
    """

    kept: torch.Tensor | None

    def __init__(
        self,
        kind: str,
        attributes: Mapping[str, Any],
        weight_quantizer: WeightQuantizer,
        source: ActivationQuantizer,
        target: ActivationQuantizer,
        norm: Norm | None,
        kept: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        # Of the weight's dtype: a product needs no conversion then.
        self.register_buffer("kept", None if kept is None else kept.float())
        self.kind = kind
        self.attributes = dict(attributes)
        self.activation = str(attributes.get("activation", "none"))
        self.norm = norm
        self.norm_frozen = False
        self.weight_quantizer = weight_quantizer
        # Not children: the network registers them once, under the edge's name.
        self._ends = (source, target)

    @property
    def ends(self) -> tuple[ActivationQuantizer, ActivationQuantizer]:
        """Quantizers of the edges before and after."""
        return self._ends

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None = None,
        gamma: torch.Tensor | None = None,
        beta: torch.Tensor | None = None,
        mean: torch.Tensor | None = None,
        variance: torch.Tensor | None = None,
        count: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the layer.

        Parameters
        ----------
        x : torch.Tensor
        weight : torch.Tensor or None
            None for a BatchNorm that no layer precedes.
        bias, gamma, beta, mean, variance, count : torch.Tensor, optional
            `mean`, `variance` and `count`, the number of batches, are moved in training.

        Returns
        -------
        torch.Tensor
        """
        tensors = (weight, bias, gamma, beta, mean, variance)
        if self.training or not self.weight_quantizer.quantizing:
            y = self._train(x, *tensors, count)
            return _activate(y, self.activation)
        with torch.autocast(x.device.type, enabled=False):
            y = self._infer(x.float(), *tensors)
            if not torch.is_grad_enabled():
                return y
            # Gradients of a network in evaluation mode are those of its float form.
            smooth = _activate(self._run_folded(x.float(), *tensors), self.activation)
            return smooth + (y - smooth).detach()

    def folded(
        self,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None = None,
        gamma: torch.Tensor | None = None,
        beta: torch.Tensor | None = None,
        mean: torch.Tensor | None = None,
        variance: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weight and bias with the BatchNorm of the running statistics inside."""
        weight = self._weight(weight, gamma)
        if self.norm is None:
            return weight, bias
        assert mean is not None
        assert variance is not None
        factor = self._factor(gamma, variance)
        shift = -mean * factor if beta is None else beta - mean * factor
        return weight * self._along(factor, weight), (
            shift if bias is None else bias * factor + shift
        )

    def integers(
        self, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Round a folded weight and bias.

        Parameters
        ----------
        weight : torch.Tensor
        bias : torch.Tensor, optional

        Returns
        -------
        codes : torch.Tensor of float32
        scale : torch.Tensor of float32, shape (scales,)
        bias : torch.Tensor of float64, optional
            Codes at scale ``input * scale``.
        """
        scale_in = self._ends[0].parameters_of_codes()[0].to(weight.device)
        scale = self.weight_quantizer.scale_of(weight, self._least(bias, scale_in)).detach()
        codes = self.weight_quantizer.codes_of(weight.detach(), scale)
        if bias is None:
            return codes, scale, None
        return codes, scale, torch.round(bias.double() / (scale_in.double() * scale.double()))

    def _train(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        gamma: torch.Tensor | None,
        beta: torch.Tensor | None,
        mean: torch.Tensor | None,
        variance: torch.Tensor | None,
        count: torch.Tensor | None,
    ) -> torch.Tensor:
        if self.norm is None or self.norm_frozen or not self.training:
            return self._run_folded(x, weight, bias, gamma, beta, mean, variance)
        # The weight is rounded as it will be deployed, with the running statistics inside; divided
        # by the same factor again it meets the batch's own statistics.
        assert variance is not None
        weight = self._weight(weight, gamma)
        factor = self._factor(gamma, variance).detach()
        factor = torch.where(factor.abs() < _LEAST_FACTOR, _LEAST_FACTOR, factor)
        view = self._along(factor, weight)
        least = None
        if self.weight_quantizer.quantizing:
            _, shift = self.folded(weight, bias, gamma, beta, mean, variance)
            least = self._least(shift, self._scale_in(weight))
        weight = self.weight_quantizer(weight * view, least) / view
        y = self._linear(x, weight, bias)
        momentum = self.norm.share_of(count)
        return F.batch_norm(y, mean, variance, gamma, beta, True, momentum, self.norm.epsilon)

    def _run_folded(self, x: torch.Tensor, *tensors: torch.Tensor | None) -> torch.Tensor:
        weight, bias = self.folded(*tensors)
        if not self.weight_quantizer.quantizing:
            weight = self.weight_quantizer(weight)
        else:
            scale_in = self._scale_in(weight)
            least = self._least(bias, scale_in)
            scale = self.weight_quantizer.scale_of(weight, least)
            weight = self.weight_quantizer(weight, least)
            if bias is not None:
                steps = (scale_in * scale).detach()
                zero = torch.zeros((), device=x.device)
                bias = fake_quantize(bias, steps, zero, -(2**31), 2**31)
        return self._linear(x, weight, bias)

    def _infer(self, x: torch.Tensor, *tensors: torch.Tensor | None) -> torch.Tensor:
        target = self._ends[1]
        weight, bias = self.folded(*tensors)
        scale_in = self._scale_in(x)
        scale_out, zero_out = (v.to(x.device) for v in target.parameters_of_codes())
        with torch.no_grad():
            codes, scale, bias_codes = self.integers(weight, bias)
            sums = self._accumulate(torch.round(x / scale_in), codes).double()
            if bias_codes is not None:
                sums += self._along_output(bias_codes, sums)
            multiplier = scale_in.double() * scale.double() / scale_out.double()
            limits = int8.code_limits(scale_out, zero_out, target.low, target.high, self.activation)
            y = int8.requantize(sums, self._along_output(multiplier, sums), limits)
            return y * scale_out

    def _accumulate(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Sum products of integers, exactly."""
        if x.is_cuda:  # its float kernels may use TF32 or Winograd's transform
            return self._linear(x.double(), codes.double(), None)
        taps = codes[0].numel() if self.kind != "conv_transpose" else codes.numel()
        if taps * 255 * self.weight_quantizer.high < _EXACT_IN_FLOAT:
            return self._linear(x, codes, None)
        # 16 * high + low: both sums stay below 2^24 up to 8,000 taps.
        high = torch.floor(x / 16)
        return self._linear(high, codes, None).double() * 16 + self._linear(
            x - 16 * high, codes, None
        )

    def _weight(self, weight: torch.Tensor | None, gamma: torch.Tensor | None) -> torch.Tensor:
        if weight is not None:
            return weight if self.kept is None else weight * self.kept
        assert gamma is not None
        shape = [gamma.numel()] + [1] * (1 + len(self.attributes["strides"]))
        return torch.ones(shape, device=gamma.device)

    def _factor(self, gamma: torch.Tensor | None, variance: torch.Tensor) -> torch.Tensor:
        assert self.norm is not None
        factor = torch.rsqrt(variance.double() + self.norm.epsilon).float()
        return factor if gamma is None else gamma * factor

    def _along(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        shape = [1] * weight.dim()
        shape[1 if self.kind == "conv_transpose" else 0] = -1
        if self.kind == "conv_transpose" and self.attributes["groups"] != 1:
            groups = int(self.attributes["groups"])
            rows = values.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            return rows.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
        return values.reshape(shape)

    def _along_output(self, values: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if values.numel() == 1 or self.kind == "dense":
            return values
        return values.reshape([-1] + [1] * (y.dim() - 2))

    def _scale_in(self, like: torch.Tensor) -> torch.Tensor:
        return self._ends[0].parameters_of_codes()[0].to(like.device)

    def _least(self, bias: torch.Tensor | None, scale_in: torch.Tensor) -> torch.Tensor | None:
        """Smallest weight scales: biases stay below 2^30, their own scale stays normal."""
        with torch.no_grad():
            count = self.weight_quantizer.channels or 1
            normal = (2.0**-125 / scale_in.double()).float().reshape(1).expand(count)
            if bias is None:
                return normal
            least = bias.detach().double().abs() / (scale_in.double() * 2.0**30)
            least = torch.nextafter(least.float(), torch.full((), torch.inf, device=bias.device))
            return torch.maximum(normal, least.amax().reshape(1) if count == 1 else least)

    def _linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if self.kind == "dense":
            return F.linear(x, weight, bias)
        attributes = self.attributes
        rank = weight.dim() - 2
        strides = _or_ones(attributes["strides"], rank)
        dilations = _or_ones(attributes["dilations"], rank)
        begin, end = _pads(attributes["pads"], rank)
        if self.kind == "conv":
            if begin != end:
                x, begin = _padded(x, begin, end), [0] * rank
            return _CONVOLVE[rank](x, weight, bias, strides, begin, dilations, attributes["groups"])
        extra = list(attributes["output_padding"]) or [0] * rank
        # Padding of the output's end beyond the begin's is cropped by a negative output padding.
        cut = [e - b for b, e in zip(begin, end, strict=True)]
        shared = [max(o - c, 0) for o, c in zip(extra, cut, strict=True)]
        y = _TRANSPOSED[rank](
            x, weight, bias, strides, begin, shared, attributes["groups"], dilations
        )
        for d, (o, c) in enumerate(zip(extra, cut, strict=True)):
            if o - c < 0:
                y = y.narrow(2 + d, 0, y.shape[2 + d] + o - c)
        return y

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """Take the mask of a checkpoint, also where the weight had no zeros yet."""
        kept = state.get(f"{prefix}kept")
        if kept is not None and self.kept is None:
            self.kept = torch.ones_like(kept)
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        return f"{self.kind}, activation={self.activation}, norm={self.norm is not None}"


def _activate(y: torch.Tensor, activation: str) -> torch.Tensor:
    if activation == "relu":
        return F.relu(y)
    return F.relu6(y) if activation == "relu6" else y


def _or_ones(values: Sequence[int], rank: int) -> list[int]:
    return list(values) or [1] * rank


def _pads(values: Sequence[int], rank: int) -> tuple[list[int], list[int]]:
    pads = list(values) or [0] * (2 * rank)
    return pads[:rank], pads[rank:]


def _padded(x: torch.Tensor, begin: Sequence[int], end: Sequence[int]) -> torch.Tensor:
    flat = [p for b, e in zip(reversed(begin), reversed(end), strict=True) for p in (b, e)]
    return F.pad(x, flat)


__all__ = ["Norm", "QuantizedLayer"]
