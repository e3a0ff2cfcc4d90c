"""Arrays in device memory: tersor's own, torch's, and any other library's through DLPack."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .native import extension, native

# NumPy dtype -> DLPack's (code, bits). Narrow floats without a code of their own travel as bytes.
_CODES: dict[np.dtype[Any], tuple[int, int]] = {
    np.dtype(np.float32): (2, 32),
    np.dtype(np.float64): (2, 64),
    np.dtype(np.float16): (2, 16),
    np.dtype(ml_dtypes.bfloat16): (4, 16),
    np.dtype(np.int8): (0, 8),
    np.dtype(np.int32): (0, 32),
    np.dtype(np.int64): (0, 64),
    np.dtype(np.uint8): (1, 8),
    np.dtype(np.uint16): (1, 16),
    np.dtype(np.uint32): (1, 32),
    np.dtype(ml_dtypes.float8_e4m3fn): (10, 8),
    np.dtype(ml_dtypes.float8_e5m2): (12, 8),
}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
_HOST, _CUDA, _MANAGED = 1, 2, 13
_local = threading.local()


@contextmanager
def use_stream(stream: int) -> Iterator[None]:
    """Run what follows in a CUDA stream, in this thread.

    Tensors of torch run in torch's current stream instead.

    Parameters
    ----------
    stream : int
        A ``cudaStream_t``; 0 is the legacy default stream.

    Yields
    ------
    None
    """
    before = getattr(_local, "stream", 0)
    _local.stream = int(stream)
    try:
        yield
    finally:
        _local.stream = before


class Array:
    """A C-contiguous array in device memory, as :func:`array` makes it.

    Other libraries take it without a copy: ``torch.from_dlpack(a)``, ``cupy.from_dlpack(a)``.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        NumPy's or ml_dtypes'.
    device : int
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, device: int | None = None) -> None:
        module = native()
        self.shape = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.device: int = module.current_device() if device is None else device
        with on_device(self.device):
            self._memory = module.Memory(self.nbytes, getattr(_local, "stream", 0))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.size * self.dtype.itemsize

    @property
    def address(self) -> int:
        """Device pointer; 0 where there are no elements."""
        return int(self._memory.address)

    def numpy(self) -> NDArray[Any]:
        """Copy to the host, after what runs in the current stream."""
        out = np.empty(self.shape, self.dtype)
        with on_device(self.device):
            native().copy_to_host(
                out.reshape(-1).view(np.uint8), self.address, getattr(_local, "stream", 0)
            )
        return out

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        mine = getattr(_local, "stream", 0)
        if stream != -1 and (stream or 0) not in (mine, 1 if mine == 0 else mine):
            native().synchronize(mine)  # the consumer's stream knows nothing of ours
        code, bits = _CODES[self.dtype]
        return native().give_capsule(
            self.address, self.shape, code, bits, _CUDA, self.device, self._memory
        )

    def __repr__(self) -> str:
        return f"tersor.cuda.Array(shape={self.shape}, dtype={self.dtype.name})"


def array(x: ArrayLike, dtype: DTypeLike | None = None, *, device: int | None = None) -> Array:
    """Copy an array of the host to a device.

    Parameters
    ----------
    x : array-like, shape (...)
    dtype : dtype, optional
        Of the result; that of `x` by default.
    device : int, optional
        The current one by default.

    Returns
    -------
    Array, shape (...)

    Raises
    ------
    ImportError
        If tersor was built without CUDA.
    DeviceError
        If there is no CUDA device.
    """
    values = np.asarray(x, dtype, order="C")
    out = Array(values.shape, values.dtype, device)
    with on_device(out.device):
        native().copy_to_device(
            out.address, values.reshape(-1).view(np.uint8), getattr(_local, "stream", 0)
        )
    return out


class Operand(NamedTuple):
    """What a kernel needs to know of an array, and how to make another one like it."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int
    stream: int
    keeper: Any  # keeps the memory alive; a torch tensor says how to make results
    is_torch: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_bfloat16(self) -> bool:
        """Whether elements are bfloat16."""
        return bool(self.dtype == ml_dtypes.bfloat16)

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> tuple[Any, int]:
        """Make an array of the same library and device; returns it and its address."""
        if not self.is_torch:
            out = Array(shape, dtype, self.device)
            return out, out.address
        torch = sys.modules["torch"]
        name = {"float8_e4m3fn": "float8_e4m3fn"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
        tensor = torch.empty(tuple(shape), dtype=getattr(torch, name), device=self.keeper.device)
        return tensor, tensor.data_ptr()


def operand(what: str, x: Any, *dtypes: DTypeLike) -> Operand:
    """Take a device array as it is.

    Parameters
    ----------
    what : str
        What messages begin with, such as "quantize: x".
    x : torch.Tensor, Array, or anything with ``__dlpack__``
    *dtypes : dtype
        Allowed ones.

    Returns
    -------
    Operand

    Raises
    ------
    TypeError
        If it is no device array, or of another dtype.
    ValueError
        If it is not contiguous.
    """
    module = native()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        out = _torch_operand(what, x, torch, module.emulated)
    elif isinstance(x, Array):
        stream = getattr(_local, "stream", 0)
        out = Operand(x.address, x.shape, x.dtype, x.device, stream, x, False)
    elif hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
        out = _dlpack_operand(what, x)
    else:
        raise TypeError(
            f"{what} must be an array in device memory (torch, __dlpack__ or tersor.cuda.array), "
            f"got {type(x).__name__}"
        )
    if dtypes and out.dtype not in [np.dtype(d) for d in dtypes]:
        names = " or ".join(np.dtype(d).name for d in dtypes)
        raise TypeError(f"{what} must be {names}, got {out.dtype.name}")
    return out


def rows_operand(what: str, x: Any, inputs: int) -> Operand:
    """Take the input of a dense layer.

    Parameters
    ----------
    what : str
        What messages begin with, such as "DenseInt4: x".
    x : device array of float32 or bfloat16, shape (rows, inputs)
    inputs : int

    Returns
    -------
    Operand

    Raises
    ------
    TypeError, ValueError
        As :func:`operand`, and for another shape.
    """
    a = operand(what, x, np.float32, ml_dtypes.bfloat16)
    if len(a.shape) != 2 or a.shape[1] != inputs:
        raise ValueError(f"{what} must have shape (rows, {inputs}), got {a.shape}")
    return a


def _torch_operand(what: str, x: Any, torch: Any, emulated: bool) -> Operand:
    if not (x.is_cuda or (emulated and x.is_cpu)):
        raise TypeError(f"{what} must be on a CUDA device, got {x.device}")
    if not x.is_contiguous():
        raise ValueError(f"{what} must be contiguous, got strides {x.stride()}")
    try:
        dtype = np.dtype(str(x.dtype).removeprefix("torch."))
    except TypeError:
        raise TypeError(f"{what} must be numbers that NumPy knows, got {x.dtype}") from None
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    device = x.device.index if x.is_cuda else 0
    return Operand(x.data_ptr(), tuple(x.shape), dtype, device, stream, x, True)


def _dlpack_operand(what: str, x: Any) -> Operand:
    kind, device = x.__dlpack_device__()
    if kind not in (_CUDA, _MANAGED):
        raise TypeError(f"{what} must be on a CUDA device, got DLPack device type {int(kind)}")
    stream = getattr(_local, "stream", 0)
    # In DLPack's words 1 is the legacy default stream.
    capsule = x.__dlpack__(stream=stream or 1)
    address, shape, code, bits, compact, _, _, keeper = extension().take_capsule(capsule)
    if (code, bits) not in _DTYPES:
        raise TypeError(f"{what} must be numbers, got DLPack type ({code}, {bits})")
    if not compact:
        raise ValueError(f"{what} must be contiguous, got other strides")
    return Operand(
        int(address), tuple(shape), _DTYPES[code, bits], int(device), stream, keeper, False
    )


def same_device(operation: str, first: Operand, **others: Operand | None) -> None:
    """Check that arrays are on the device of the first one."""
    for name, other in others.items():
        if other is not None and other.device != first.device:
            raise ValueError(
                f"{operation}: {name} must be on device {first.device}, got {other.device}"
            )


def on_device(device: int) -> Any:
    """Make a device current within ``with``."""
    return _OnDevice(device)


class _OnDevice:
    def __init__(self, device: int) -> None:
        self._device = device
        self._before: int | None = None

    def __enter__(self) -> None:
        module = extension()
        before = module.current_device()
        if before != self._device:
            module.set_device(self._device)
            self._before = before

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            extension().set_device(self._before)


__all__ = [
    "Array",
    "Operand",
    "array",
    "on_device",
    "operand",
    "rows_operand",
    "same_device",
    "use_stream",
]
