# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "ConvInt8",
    "DenseCodes",
    "DenseDynamic",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "QParams",
    "cast_from",
    "cast_to",
    "choose_qparams",
    "dequantize",
    "dequantize_affine",
    "dequantize_affine_channels",
    "dequantize_packed",
    "fake_quantize",
    "fake_quantize_at",
    "fake_quantize_backward",
    "fake_quantize_backward_at",
    "lsq_backward_at",
    "min_max",
    "pack_bits",
    "qparams_from_range",
    "quantize",
    "quantize_affine",
    "quantize_affine_channels",
    "quantize_packed",
    "requantize",
    "unpack_bits",
]

class QParams:
    """
    Parameters of affine quantization: ``value = scale[s] * (code - zero_point[s])``.

    Attributes are ``scale`` (float32), ``zero_point`` (int32), ``bits`` in [2, 8], ``signed``,
    ``narrow`` (symmetric codes of weights), ``axis`` (None: one scale for the tensor; an axis or
    a tuple of consecutive axes, flattened together), ``group_size`` (0: one scale per index of the
    axes; otherwise one per so many of them in a row, the last group may be short, and scales lie
    as [outer][groups][inner]), ``zero_point_float`` (None, or float32 in place of ``zero_point``),
    ``code_min`` and ``code_max``.
    """

    __hash__: typing.ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __getstate__(self) -> tuple[typing.Any, ...]: ...
    def __init__(
        self,
        *,
        scale: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
        zero_point: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        bits: typing.SupportsInt | typing.SupportsIndex = 8,
        signed: bool = True,
        narrow: bool = False,
        axis: typing.SupportsInt
        | typing.SupportsIndex
        | collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
        | None = None,
        group_size: typing.SupportsInt | typing.SupportsIndex = 0,
        zero_point_float: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
        | None = None,
        codebook: typing.Any = None,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: tuple[typing.Any, ...]) -> None: ...
    @property
    def axis(self) -> typing.Any: ...
    @property
    def bits(self) -> int: ...
    @property
    def code_max(self) -> int: ...
    @property
    def code_min(self) -> int: ...
    @property
    def codebook(self) -> typing.Any: ...
    @property
    def group_size(self) -> int: ...
    @property
    def narrow(self) -> bool: ...
    @property
    def scale(self) -> numpy.typing.NDArray[numpy.float32]: ...
    @property
    def signed(self) -> bool: ...
    @property
    def zero_point(self) -> numpy.typing.NDArray[numpy.int32]: ...
    @property
    def zero_point_float(self) -> typing.Any: ...

class HistogramObserver:
    __hash__: typing.ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __getstate__(self) -> tuple[typing.Any, ...]: ...
    def __init__(self) -> None: ...
    def __setstate__(self, arg0: tuple[typing.Any, ...]) -> None: ...
    def merge(self, other: HistogramObserver) -> None: ...
    def observe(self, x: numpy.typing.NDArray[numpy.float32]) -> None: ...
    def qparams(
        self,
        bits: typing.SupportsInt | typing.SupportsIndex,
        signed: bool,
        symmetric: bool,
        method: str,
        percentile: typing.SupportsFloat | typing.SupportsIndex,
    ) -> QParams: ...
    @property
    def counts(self) -> numpy.typing.NDArray[numpy.uint64]: ...
    @property
    def first(self) -> int: ...
    @property
    def range(self) -> tuple[typing.Any, ...]: ...
    @property
    def total(self) -> int: ...
    @property
    def width(self) -> float: ...

class MinMaxObserver:
    __hash__: typing.ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __getstate__(self) -> tuple[typing.Any, ...]: ...
    def __init__(self, axis: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __setstate__(self, arg0: tuple[typing.Any, ...]) -> None: ...
    def merge(self, other: MinMaxObserver) -> None: ...
    def observe(self, x: numpy.typing.NDArray[numpy.float32]) -> None: ...
    def qparams(
        self, bits: typing.SupportsInt | typing.SupportsIndex, signed: bool, symmetric: bool
    ) -> QParams: ...
    @property
    def ranges(self) -> list[typing.Any]: ...

class MovingAverageObserver:
    __hash__: typing.ClassVar[None]  # type: ignore[assignment]
    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __getstate__(self) -> tuple[typing.Any, ...]: ...
    def __init__(self, momentum: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def __setstate__(self, arg0: tuple[typing.Any, ...]) -> None: ...
    def observe(self, x: numpy.typing.NDArray[numpy.float32]) -> None: ...
    def qparams(
        self, bits: typing.SupportsInt | typing.SupportsIndex, signed: bool, symmetric: bool
    ) -> QParams: ...
    @property
    def range(self) -> tuple[typing.Any, ...]: ...

class ConvInt8:
    def __init__(
        self,
        input_shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        weights: numpy.typing.NDArray[numpy.int8],
        bias: numpy.typing.NDArray[numpy.int32] | None,
        zero_point: typing.SupportsInt | typing.SupportsIndex,
        multiplier: numpy.typing.NDArray[numpy.float64],
        scale: typing.SupportsFloat | typing.SupportsIndex,
        output_zero_point: typing.SupportsInt | typing.SupportsIndex,
        lo: typing.SupportsInt | typing.SupportsIndex,
        hi: typing.SupportsInt | typing.SupportsIndex,
        strides: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        pads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        dilations: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        groups: typing.SupportsInt | typing.SupportsIndex,
        add: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] | None,
        arithmetic: str,
        algorithm: str,
    ) -> None: ...
    def accumulate(
        self, x: numpy.typing.NDArray[numpy.int8], out: typing.Any
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def run(
        self,
        x: numpy.typing.NDArray[numpy.int8],
        residual: numpy.typing.NDArray[numpy.int8] | None,
        out: typing.Any,
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def kernel(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

class DenseCodes:
    def __init__(
        self,
        codes: numpy.typing.NDArray[numpy.int8],
        scale: numpy.typing.NDArray[numpy.float32],
        zero_point: numpy.typing.NDArray[numpy.float32] | None,
        bias: numpy.typing.NDArray[numpy.float32] | None,
        bits: typing.SupportsInt | typing.SupportsIndex,
        group: typing.SupportsInt | typing.SupportsIndex,
        low: typing.SupportsFloat | typing.SupportsIndex,
        high: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def run(
        self, x: numpy.typing.NDArray[numpy.float32], out: typing.Any
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def kernel(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

class DenseDynamic:
    def __init__(
        self,
        codes: numpy.typing.NDArray[numpy.int8],
        scale: numpy.typing.NDArray[numpy.float32],
        bias: numpy.typing.NDArray[numpy.float32] | None,
        low: typing.SupportsFloat | typing.SupportsIndex,
        high: typing.SupportsFloat | typing.SupportsIndex,
        algorithm: str,
    ) -> None: ...
    def run(
        self, x: numpy.typing.NDArray[numpy.float32], out: typing.Any
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def kernel(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

def cast_from(
    x: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], format: str, out: typing.Any
) -> numpy.typing.NDArray[numpy.float32]: ...
def cast_to(
    x: numpy.typing.NDArray[numpy.float32], format: str, out: typing.Any
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def choose_qparams(
    x: numpy.typing.NDArray[numpy.float32],
    bits: typing.SupportsInt | typing.SupportsIndex,
    signed: bool,
    symmetric: bool,
    axis: typing.SupportsInt | typing.SupportsIndex,
    axis_count: typing.SupportsInt | typing.SupportsIndex,
    group_size: typing.SupportsInt | typing.SupportsIndex,
    method: str,
    percentile: typing.SupportsFloat | typing.SupportsIndex,
    float_zero_point: bool,
    scale_dtype: str,
) -> QParams: ...
def dequantize(
    xq: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], q: QParams, out: typing.Any
) -> numpy.typing.NDArray[numpy.float32]: ...
def dequantize_affine(
    q: numpy.typing.NDArray[numpy.int8],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    zero_point: typing.SupportsInt | typing.SupportsIndex,
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.float32]: ...
def dequantize_affine_channels(
    q: numpy.typing.NDArray[numpy.int8],
    scale: numpy.typing.NDArray[numpy.float32],
    zero_point: numpy.typing.NDArray[numpy.int32],
    axis: typing.SupportsInt | typing.SupportsIndex,
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.float32]: ...
def dequantize_packed(
    packed: numpy.typing.NDArray[numpy.uint8],
    q: QParams,
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    out: typing.Any,
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def fake_quantize(
    x: numpy.typing.NDArray[numpy.float32], q: QParams, out: typing.Any, mask: typing.Any
) -> tuple[
    numpy.typing.NDArray[numpy.float32], numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]
]: ...
def fake_quantize_at(
    x: typing.SupportsInt | typing.SupportsIndex,
    y: typing.SupportsInt | typing.SupportsIndex,
    mask: typing.SupportsInt | typing.SupportsIndex,
    layout: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    scale: typing.SupportsInt | typing.SupportsIndex,
    zero_point: typing.SupportsInt | typing.SupportsIndex,
    kind: typing.SupportsInt | typing.SupportsIndex,
    lo: typing.SupportsInt | typing.SupportsIndex,
    hi: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def fake_quantize_backward(
    dy: numpy.typing.NDArray[numpy.float32],
    mask: numpy.typing.NDArray[numpy.uint8],
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.float32]: ...
def fake_quantize_backward_at(
    dy: typing.SupportsInt | typing.SupportsIndex,
    mask: typing.SupportsInt | typing.SupportsIndex,
    dx: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def lsq_backward_at(
    dy: typing.SupportsInt | typing.SupportsIndex,
    x: typing.SupportsInt | typing.SupportsIndex,
    dx: typing.SupportsInt | typing.SupportsIndex,
    layout: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    scale: typing.SupportsInt | typing.SupportsIndex,
    zero_point: typing.SupportsInt | typing.SupportsIndex,
    kind: typing.SupportsInt | typing.SupportsIndex,
    lo: typing.SupportsInt | typing.SupportsIndex,
    hi: typing.SupportsInt | typing.SupportsIndex,
    gradient_scale: typing.SupportsFloat | typing.SupportsIndex,
    dscale: typing.SupportsInt | typing.SupportsIndex,
    dzero: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def min_max(x: numpy.typing.NDArray[numpy.float32]) -> tuple[typing.Any, ...]: ...
def pack_bits(
    codes: numpy.typing.NDArray[numpy.uint8],
    bits: typing.SupportsInt | typing.SupportsIndex,
    out: typing.Any,
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def qparams_from_range(
    lo: typing.SupportsFloat | typing.SupportsIndex,
    hi: typing.SupportsFloat | typing.SupportsIndex,
    bits: typing.SupportsInt | typing.SupportsIndex,
    signed: bool,
    symmetric: bool,
) -> QParams: ...
def quantize(
    x: numpy.typing.NDArray[numpy.float32], q: QParams, out: typing.Any
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def quantize_affine(
    x: numpy.typing.NDArray[numpy.float32],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    zero_point: typing.SupportsInt | typing.SupportsIndex,
    lo: typing.SupportsInt | typing.SupportsIndex,
    hi: typing.SupportsInt | typing.SupportsIndex,
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.int8]: ...
def quantize_affine_channels(
    x: numpy.typing.NDArray[numpy.float32],
    scale: numpy.typing.NDArray[numpy.float32],
    zero_point: numpy.typing.NDArray[numpy.int32],
    axis: typing.SupportsInt | typing.SupportsIndex,
    lo: typing.SupportsInt | typing.SupportsIndex,
    hi: typing.SupportsInt | typing.SupportsIndex,
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.int8]: ...
def quantize_packed(
    x: numpy.typing.NDArray[numpy.float32], q: QParams, out: typing.Any
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def requantize(
    sums: numpy.typing.NDArray[numpy.int32],
    multiplier: numpy.typing.NDArray[numpy.float64],
    zero_point: typing.SupportsInt | typing.SupportsIndex,
    lo: typing.SupportsInt | typing.SupportsIndex,
    hi: typing.SupportsInt | typing.SupportsIndex,
    arithmetic: str,
    out: typing.Any,
) -> numpy.typing.NDArray[numpy.int8]: ...
def unpack_bits(
    packed: numpy.typing.NDArray[numpy.uint8],
    bits: typing.SupportsInt | typing.SupportsIndex,
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    signed: bool,
    out: typing.Any,
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
