"""Quantizers as modules: what an edge or a weight of an int8 network rounds to, while it trains."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .. import _core
from .native_quantizer import native_quantizer, pass_gradient

LEAST_SCALE = 2.0**-126  # the smallest normal float, as in quantization/qparams.cpp
# Scales tried on each side of the largest magnitude when a learned scale starts.
_TRIED_SCALES = 48
# Batches whose range a learned scale follows where no phase of observing came before.
_LEADING_BATCHES = 8


def _round(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounded values, and where the code was not clamped; NaN counts as 0 outside, as in C++."""
    steps = x / scale
    codes = torch.round(steps) + zero_point
    inside = (codes >= low) & (codes <= high)
    codes = torch.where(torch.isnan(steps), zero_point, codes)
    return (codes.clamp_(low, high) - zero_point) * scale, inside


class _StraightThrough(torch.autograd.Function):
    """Rounded in the forward pass; the gradient passes where the code was not clamped."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        scale: torch.Tensor,
        zero_point: torch.Tensor,
        low: int,
        high: int,
    ) -> torch.Tensor:
        quantizer = native_quantizer(x, scale, zero_point, low, high)
        ctx.format = None if quantizer is None else quantizer.format
        if quantizer is None:
            y, mask = _round(x, scale, zero_point, low, high)
        else:
            needed = ctx.needs_input_grad[0]
            size = (x.numel() + 7) // 8 if needed else 0
            mask = torch.empty(size, dtype=torch.uint8, device=x.device)
            y = quantizer.round(x, mask if needed else None)
        ctx.save_for_backward(mask)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        if ctx.format is None:
            return torch.where(mask, gradient, 0), None, None, None, None
        return pass_gradient(gradient, mask, ctx.format), None, None, None, None


def _learned_gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    low: int,
    high: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of input, scale and zero point."""
    # Esser et al. 2020, equation 3: round(v) - v inside, the limit outside and on the border, as in
    # lsq.h; NaN counts for nothing.
    steps = x / scale
    inside = (steps > low - zero) & (steps < high - zero)
    ordered = torch.where(torch.isnan(steps), 0, gradient)
    steps = torch.nan_to_num(steps, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    limit = torch.minimum(torch.maximum(steps, low - zero), high - zero)
    slope = torch.where(inside, torch.round(steps) - steps, limit)
    count = x.numel() / max(scale.numel(), 1)
    factor = 1 / math.sqrt(max(count * high, 1))
    d_scale = _sum_to(ordered * slope, scale) * factor
    d_zero = _sum_to(torch.where(inside, 0, -scale * ordered), zero) * factor
    return torch.where(inside, gradient, 0), d_scale, d_zero


class _LearnedSteps(torch.autograd.Function):
    """LSQ+: gradients of the scale and the zero point too; the input is saved, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        scale: torch.Tensor,
        zero_point: torch.Tensor,
        low: int,
        high: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.limits = low, high
        quantizer = native_quantizer(x, scale, zero_point, low, high)
        if quantizer is not None:
            return quantizer.round(x, None)
        return _round(x, scale, torch.round(zero_point).clamp(low, high), low, high)[0]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        x, scale, zero_point = ctx.saved_tensors
        low, high = ctx.limits
        quantizer = native_quantizer(x, scale, zero_point, low, high)
        if quantizer is not None and gradient.dtype == torch.float32:
            d_x, d_scale, d_zero = quantizer.gradients(gradient, x)
            d_zero = d_zero.reshape(scale.shape).sum_to_size(zero_point.shape)
            return d_x, d_scale.reshape(scale.shape), d_zero, None, None
        zero = torch.round(zero_point).clamp(low, high)
        return *_learned_gradients(gradient, x, scale, zero, low, high), None, None


def _sum_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x.sum_to_size(like.shape) if like.dim() else x.sum()


def fake_quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> torch.Tensor:
    """Round to the values that codes have; straight-through gradient.

    ``y = scale * (clamp(round(x / scale) + zero_point, low, high) - zero_point)``

    Parameters
    ----------
    x : torch.Tensor of float32
    scale, zero_point : torch.Tensor of float32
        Broadcast against `x`; no gradient flows into them.
    low, high : int
        Smallest and largest code.

    Returns
    -------
    torch.Tensor of float32

    Examples
    --------
    >>> import torch
    >>> fake_quantize(torch.tensor([0.3, 9.0]), torch.tensor(0.25), torch.tensor(0.0), -8, 7)
    tensor([0.2500, 1.7500])
    """
    if torch.compiler.is_compiling():
        y: torch.Tensor = _operator(x, scale, zero_point, low, high)[0]
        return y
    return _StraightThrough.apply(x, scale, zero_point, low, high)  # type: ignore[no-any-return,no-untyped-call]


def learned_fake_quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> torch.Tensor:
    """Round as :func:`fake_quantize` does, with gradients of scale and zero point (LSQ+).

    Parameters
    ----------
    x : torch.Tensor of float32
    scale, zero_point : torch.Tensor of float32
        Broadcast against `x`. The zero point is rounded to a code; their gradients are divided by
        ``sqrt(values per scale * high)``.
    low, high : int
        Smallest and largest code.

    Returns
    -------
    torch.Tensor of float32

    References
    ----------
    Esser et al., "Learned Step Size Quantization", ICLR 2020; Bhalgat et al., "LSQ+", CVPRW 2020.

    Examples
    --------
    >>> import torch
    >>> scale = torch.tensor(0.25, requires_grad=True)
    >>> learned_fake_quantize(torch.tensor([0.3]), scale, torch.tensor(0.0), -8, 7).backward()
    >>> round(float(scale.grad), 4)
    -0.0756
    """
    if torch.compiler.is_compiling():
        y: torch.Tensor = _learned_operator(x, scale, zero_point, low, high)
        return y
    return _LearnedSteps.apply(x, scale, zero_point, low, high)  # type: ignore[no-any-return,no-untyped-call]


@torch.library.custom_op("tersor::fake_quantize", mutates_args=())
def _operator(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """For graphs of torch.compile and torch.export."""
    return _round(x, scale, zero_point, low, high)


@_operator.register_fake
def _(x: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)


def _keep_mask(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(output[1])


def _pass_inside(ctx: Any, gradient: torch.Tensor, _: object) -> tuple[Any, ...]:
    return torch.where(ctx.saved_tensors[0], gradient, 0), None, None, None, None


_operator.register_autograd(_pass_inside, setup_context=_keep_mask)


@torch.library.custom_op("tersor::learned_fake_quantize", mutates_args=())
def _learned_operator(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, low: int, high: int
) -> torch.Tensor:
    """For graphs of torch.compile and torch.export."""
    return _round(x, scale, torch.round(zero_point).clamp(low, high), low, high)[0]


@_learned_operator.register_fake
def _(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.limits = inputs[3:]


def _learned_backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    x, scale, zero_point = ctx.saved_tensors
    zero = torch.round(zero_point).clamp(*ctx.limits)
    return *_learned_gradients(gradient, x, scale, zero, *ctx.limits), None, None


_learned_operator.register_autograd(_learned_backward, setup_context=_keep_inputs)


class FakeQuantize(nn.Module):
    """Base of the quantizers; two switches say what the forward pass does.

    Attributes
    ----------
    observing : bool
        The range follows the values seen in training.
    quantizing : bool
        Values are rounded.
    bits : int
        Of a code.
    learned : bool
        Scale (and zero point) are parameters that the optimizer moves (LSQ+).
    """

    def __init__(self, bits: int, *, learned: bool) -> None:
        super().__init__()
        if not isinstance(bits, int) or not 2 <= bits <= 8:
            raise ValueError(f"FakeQuantize: bits must be in [2, 8], got {bits}")
        self.bits = bits
        self.learned = learned
        self.observing = True
        self.quantizing = True

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # A checkpoint of the plain network has none of them: the quantizer stays as it is.
        if not any(key.startswith(prefix) for key in state_dict):
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class ActivationQuantizer(FakeQuantize):
    """Asymmetric int8 quantizer of an edge, one scale for the tensor.

    The range is a moving average of the extremes of each batch, or learned. Zero is always a code.

    Parameters
    ----------
    bits : int, default 8
    fixed : tuple of (scale, zero point), optional
        Given by the operator before the edge; nothing is observed then.
    learned : bool, default False
    momentum : float, default 0.05
        Share of a new batch in the range, in (0, 1]; 1 / batches seen while that is larger.

    Examples
    --------
    >>> import torch
    >>> quantizer = ActivationQuantizer()
    >>> quantizer(torch.tensor([0.0, 2.55])).tolist() == [0.0, 2.549999952316284]
    True
    >>> [round(float(v), 4) for v in quantizer.parameters_of_codes()]
    [0.01, -128.0]
    """

    lo: torch.Tensor
    hi: torch.Tensor
    batches: torch.Tensor

    def __init__(
        self,
        bits: int = 8,
        *,
        fixed: tuple[float, int] | None = None,
        learned: bool = False,
        momentum: float = 0.05,
    ) -> None:
        super().__init__(bits, learned=learned and fixed is None)
        if not 0 < momentum <= 1:
            raise ValueError(f"ActivationQuantizer: momentum must be in (0, 1], got {momentum}")
        self.momentum = float(momentum)
        self.fixed = fixed
        self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        if fixed is None:
            # Floats, so that data-parallel loops that average or broadcast buffers reach them.
            self.register_buffer("lo", torch.zeros(()))
            self.register_buffer("hi", torch.zeros(()))
            self.register_buffer("batches", torch.zeros(()))
        if self.learned:
            self.scale = nn.Parameter(torch.zeros(()))
            self.zero_point = nn.Parameter(torch.zeros(()))

    @property
    def is_calibrated(self) -> bool:
        """Whether a range is known."""
        return self.fixed is not None or bool(self.batches > 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Observe and round a tensor of any shape.

        Parameters
        ----------
        x : torch.Tensor
            Float32 or a half type, which is rounded in float32.

        Returns
        -------
        torch.Tensor
            Of the dtype of `x`.
        """
        if self.training and self.observing and self.fixed is None:
            self.observe(x)
        if not self.quantizing:
            # Data-parallel training expects a gradient for every parameter.
            return x + 0 * (self.scale + self.zero_point) if self.learned else x
        with torch.autocast(x.device.type, enabled=False):
            if self.learned:
                scale, zero = self._learned_parameters()
                y = learned_fake_quantize(x.float(), scale, zero, self.low, self.high)
            else:
                y = fake_quantize(x.float(), *self.parameters_of_codes(), self.low, self.high)
        return y.to(x.dtype)

    @torch.no_grad()
    def observe(self, x: torch.Tensor) -> None:
        """Let a batch move the range.

        Parameters
        ----------
        x : torch.Tensor
        """
        lo, hi = torch.aminmax(x.detach())
        lo, hi = lo.float(), hi.float()
        # One overflow, as loss scaling provokes them, must not stay in the average.
        finite = torch.isfinite(lo) & torch.isfinite(hi)
        self.batches += finite
        share = torch.clamp(1 / torch.clamp(self.batches, min=1), min=self.momentum)
        self.lo += torch.where(finite, share * (lo - self.lo), 0)
        self.hi += torch.where(finite, share * (hi - self.hi), 0)
        if self.learned:
            # The optimizer takes over when the range is known; no flag, which would have to be
            # read back from the device.
            scale, zero = self._observed_parameters()
            follows = self.batches <= (_LEADING_BATCHES if self.quantizing else torch.inf)
            self.scale.copy_(torch.where(follows, scale, self.scale))
            self.zero_point.copy_(torch.where(follows, zero, self.zero_point))

    def parameters_of_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and zero point, both float32 of shape ()."""
        if self.fixed is not None:
            device = torch.device("cpu")
            return (
                torch.tensor(self.fixed[0], device=device),
                torch.tensor(float(self.fixed[1]), device=device),
            )
        if self.learned:
            with torch.no_grad():
                scale, zero = self._learned_parameters()
                return scale.detach(), torch.round(zero).clamp(self.low, self.high)
        return self._observed_parameters()

    def _learned_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        # A step may carry the parameter through zero; half of the observed scale is far enough.
        least = torch.clamp((self.hi - self.lo) / (64 * (self.high - self.low)), min=LEAST_SCALE)
        # Copies: the parameters may follow the range between two uses of one quantizer.
        return torch.maximum(self.scale.clone(), least), self.zero_point.clone()

    @torch.no_grad()
    def _observed_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        lo = torch.clamp(self.lo, max=0).double()
        hi = torch.clamp(self.hi, min=0).double()
        scale = torch.clamp((hi - lo) / (self.high - self.low), min=LEAST_SCALE).float()
        scale = torch.where(hi > lo, scale, torch.ones_like(scale))
        zero = torch.round(self.low - lo / scale.double())
        return scale, zero.clamp(self.low, self.high).float()

    def qparams(self) -> Any:
        """Return the parameters as :class:`tersor.quantization.QParams`.

        Raises
        ------
        RuntimeError
            If no batch was seen yet.
        """
        if not self.is_calibrated:
            raise RuntimeError(
                "FakeQuantize: a range is needed: run batches through the network in training "
                "mode first"
            )
        scale, zero = self.parameters_of_codes()
        return _core.quantization.QParams(
            scale=[float(scale)], zero_point=[int(zero)], bits=self.bits, signed=True
        )

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        if self.fixed is not None:
            return f"bits={self.bits}, fixed={self.fixed}"
        return f"bits={self.bits}, learned={self.learned}"


class WeightQuantizer(FakeQuantize):
    """Symmetric narrow quantizer of a weight, one scale per channel or for the tensor.

    Parameters
    ----------
    channels : int or None
        Number of scales; None for one.
    axis : int, default 0
        Of the channels.
    bits : int, default 8
    learned : bool, default False
        The scale is a parameter (LSQ) that starts where the squared error is least; else it is the
        largest magnitude divided by the largest code.

    Examples
    --------
    >>> import torch
    >>> quantizer = WeightQuantizer(2, bits=4)
    >>> quantizer(torch.tensor([[0.7, 0.26], [0.0, 7.0]])).tolist()
    [[0.699999988079071, 0.30000001192092896], [0.0, 7.0]]
    """

    ready: torch.Tensor

    def __init__(
        self, channels: int | None, *, axis: int = 0, bits: int = 8, learned: bool = False
    ) -> None:
        super().__init__(bits, learned=learned)
        self.channels = channels
        self.axis = axis
        self.high = 2 ** (bits - 1) - 1
        self.low = -self.high
        if learned:
            self.scale = nn.Parameter(torch.ones(1 if channels is None else channels))
            self.register_buffer("ready", torch.zeros(()))
            self._is_ready = False

    def forward(self, w: torch.Tensor, least: torch.Tensor | None = None) -> torch.Tensor:
        """Round a weight.

        Parameters
        ----------
        w : torch.Tensor of float32
        least : torch.Tensor of float32, shape (scales,), optional
            Smallest scales, which keep the bias within 31 bits.

        Returns
        -------
        torch.Tensor of float32
        """
        if not self.quantizing:
            return w + 0 * self.scale.sum() if self.learned else w
        scale = self.scale_of(w, least)
        view = self.along(scale, w.dim())
        zero = torch.zeros((), device=w.device)
        function = learned_fake_quantize if self.learned else fake_quantize
        return function(w, view, zero, self.low, self.high)

    def along(self, values: torch.Tensor, rank: int) -> torch.Tensor:
        """Shape one value per channel so that it broadcasts against a weight of that rank."""
        if self.channels is None:
            return values.reshape(())
        shape = [1] * rank
        shape[self.axis] = -1
        return values.reshape(shape)

    def scale_of(self, w: torch.Tensor, least: torch.Tensor | None = None) -> torch.Tensor:
        """Return the scales, shape (scales,); a gradient reaches learned ones only."""
        if self.learned:
            if not self._is_ready:
                self._start(w)
            scale: torch.Tensor = torch.abs(self.scale)
        else:
            with torch.no_grad():
                scale = _without_zeros(self._magnitudes(w).double() / self.high)
        floor = torch.full_like(scale, LEAST_SCALE) if least is None else least
        return torch.maximum(scale, floor.detach())

    def codes_of(self, w: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return the codes as floats."""
        return torch.round(w / self.along(scale, w.dim())).clamp(self.low, self.high)

    def _rows(self, w: torch.Tensor) -> torch.Tensor:
        return w.reshape(1, -1) if self.channels is None else w.movedim(self.axis, 0).flatten(1)

    def _magnitudes(self, w: torch.Tensor) -> torch.Tensor:
        return self._rows(w.detach().abs()).amax(1)

    @torch.no_grad()
    def _start(self, w: torch.Tensor) -> None:
        """Choose the scales of least squared error."""
        if not bool(self.ready > 0):
            rows = self._rows(w.detach())
            full = _without_zeros(self._magnitudes(w).double() / self.high)
            best = torch.full_like(full, torch.inf)
            for i in range(_TRIED_SCALES):
                scale = full * (1 - 0.7 * i / _TRIED_SCALES)
                steps = scale[:, None]
                rounded = torch.round(rows / steps).clamp_(self.low, self.high) * steps
                error = (rounded - rows).square_().sum(1)
                better = error < best
                best = torch.where(better, error, best)
                self.scale.copy_(torch.where(better, scale, self.scale))
            self.ready.fill_(1)
        self._is_ready = True

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._is_ready = False  # the buffer says it

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        return f"bits={self.bits}, channels={self.channels}, learned={self.learned}"


def _without_zeros(scales: torch.Tensor) -> torch.Tensor:
    """float32, zeros replaced by the lower median of the others (1 where all are zero)."""
    positive = scales > 0
    # Zeros sort behind everything, so the median's place follows from the count.
    ordered = torch.where(positive, scales, torch.inf).sort().values
    middle = torch.clamp((positive.sum() - 1).div(2, rounding_mode="floor"), min=0)
    median = ordered.gather(0, middle.reshape(1))
    median = torch.where(torch.isinf(median), torch.ones_like(median), median)
    return torch.where(positive, scales.clamp(min=LEAST_SCALE), median).float()


__all__ = [
    "ActivationQuantizer",
    "FakeQuantize",
    "WeightQuantizer",
    "fake_quantize",
    "learned_fake_quantize",
]
