"""Products of int8 and float8 codes through cuBLASLt. Native half: ``cpp/tersor/cuda/product.h``.

cuBLASLt is loaded by the first product: the one that the process has already (PyTorch's), else that
of the nvidia-cublas package beside this one, else the system's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from .device_array import Operand, on_device, operand, same_device
from .native import native

_FLOATS = (np.float32, ml_dtypes.bfloat16)
_FOLDERS = ("nvidia/cu13/lib", "nvidia/cublas/lib", "nvidia/cu12/lib")
_FILES = ("libcublasLt.so.13", "libcublasLt.so.12")
STEP = 16  # inputs and outputs of a product are multiples of it


def cublaslt_files() -> list[str]:
    """List the files that pip's packages of cuBLAS have.

    Returns
    -------
    list of str
        Existing ones, in the order in which they are tried.
    """
    found = [Path(p or ".", f, n) for p in sys.path for f in _FOLDERS for n in _FILES]
    return [str(path) for path in found if path.is_file()]


def cublaslt() -> tuple[str, int]:
    """Load cuBLASLt if it is not loaded.

    Returns
    -------
    path : str
    version : int
        Such as 130001.

    Raises
    ------
    ImportError
        If tersor was built without CUDA.
    DeviceError
        If there is no CUDA device or no cuBLASLt (a RuntimeError).
    """
    path, version = native().load_cublaslt(cublaslt_files())
    return str(path), int(version)


def rounded_up(n: int) -> int:
    """Round a number of inputs or outputs up to what products take."""
    return -(-n // STEP) * STEP


def multiply(
    x: Operand,
    w: Operand,
    y: int,
    result: Literal["int32", "float32", "bfloat16"],
    *,
    scales: tuple[int, int] = (0, 0),
    tune: bool = False,
) -> None:
    """Enqueue ``y = x @ w.T`` of codes.

    Parameters
    ----------
    x, w : Operand of int8 or float8_e4m3fn, shape (rows, inputs) and (outputs, inputs)
        Inputs and outputs multiples of 16.
    y : int
        Address of rows x outputs elements.
    result : {"int32", "float32", "bfloat16"}
    scales : tuple of int
        Addresses of the factors of x and w; 0 for none.
    tune : bool, default False
        Time the candidates at the first call of a shape.
    """
    module = native()
    cublaslt()
    _, workspace = x.empty((module.product_workspace,), np.uint8)
    module.product(
        *_arguments(x, w, result, (x.address, w.address, y, *scales, workspace)), tune, x.stream
    )


def _arguments(x: Operand, w: Operand, result: str, addresses: tuple[int, ...]) -> tuple[Any, ...]:
    float8 = w.dtype == ml_dtypes.float8_e4m3fn
    return (x.shape[0], *w.shape), float8, result, addresses, native().product_workspace


def matmul_int8(x: Any, w: Any, *, tune: bool = False) -> Any:
    """Multiply int8 codes exactly: ``x @ w.T`` in int32.

    Parameters
    ----------
    x : device array of int8, shape (rows, inputs)
        Inputs a multiple of 16.
    w : device array of int8, shape (outputs, inputs)
        Outputs a multiple of 16.
    tune : bool, default False
        Time the library's candidates at the first call of a shape, which then waits for the device,
        and take the fastest; otherwise the first of its heuristic.

    Returns
    -------
    device array of int32, shape (rows, outputs)

    Raises
    ------
    ValueError
        If shapes do not fit or are no multiples of 16.
    TypeError
        If an argument is no device array of int8.
    DeviceError
        If cuBLASLt cannot be loaded or has no such product on this device.
    """
    a, b = _codes("matmul_int8", x, w, np.int8)
    with on_device(a.device):
        y, address = a.empty((a.shape[0], b.shape[0]), np.int32)
        multiply(a, b, address, "int32", tune=tune)
    return y


def matmul_fp8(
    x: Any,
    w: Any,
    x_scale: Any = None,
    w_scale: Any = None,
    *,
    dtype: DTypeLike = np.float32,
    tune: bool = False,
) -> Any:
    """Multiply float8 codes (e4m3) and their scales: ``x_scale * w_scale * (x @ w.T)``.

    Parameters
    ----------
    x : device array of float8_e4m3fn, shape (rows, inputs)
        Inputs a multiple of 16.
    w : device array of float8_e4m3fn, shape (outputs, inputs)
        Outputs a multiple of 16.
    x_scale, w_scale : device array of float32, one element, optional
        1 by default.
    dtype : {float32, bfloat16}, default float32
        Of the result; sums are float32.
    tune : bool, default False
        As in `matmul_int8`.

    Returns
    -------
    device array, shape (rows, outputs)

    Raises
    ------
    ValueError
        If shapes do not fit or are no multiples of 16.
    TypeError
        If an argument is no device array of its dtype, or `dtype` is another.
    DeviceError
        If cuBLASLt cannot be loaded, or the device has no float8 (before compute capability 8.9).
    """
    a, b = _codes("matmul_fp8", x, w, ml_dtypes.float8_e4m3fn)
    kind = result_type("matmul_fp8", dtype)
    factors = []
    for name, scale in (("x_scale", x_scale), ("w_scale", w_scale)):
        one = None if scale is None else operand(f"matmul_fp8: {name}", scale, np.float32)
        if one is not None and one.size != 1:
            raise ValueError(f"matmul_fp8: {name} must have 1 element, got {one.size}")
        same_device("matmul_fp8", a, **{name: one})
        factors.append(0 if one is None else one.address)
    with on_device(a.device):
        y, address = a.empty((a.shape[0], b.shape[0]), kind)
        name = "float32" if kind == np.float32 else "bfloat16"
        multiply(a, b, address, name, scales=(factors[0], factors[1]), tune=tune)  # type: ignore[arg-type]
    return y


def tuned_times(x: Any, w: Any) -> tuple[float, float, int]:
    """Return what a call with ``tune=True`` measured.

    Parameters
    ----------
    x, w : device array of int8 or float8_e4m3fn
        As in that call: of the same shapes.

    Returns
    -------
    first, best : float
        Milliseconds of the heuristic's first candidate and of the fastest; 0 if there was no such
        call.
    candidates : int
        How many were timed.
    """
    a, b = operand("tuned_times: x", x), operand("tuned_times: w", w)
    with on_device(a.device):
        result = "int32" if a.dtype == np.int8 else "float32"
        # Arrays come from allocators, whose blocks are aligned to 256 bytes.
        times = native().product_times(*_arguments(a, b, result, (0,) * 6))
    return float(times[0]), float(times[1]), int(times[2])


def result_type(operation: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Check the dtype of a result."""
    if np.dtype(dtype) not in [np.dtype(d) for d in _FLOATS]:
        raise TypeError(f"{operation}: dtype must be float32 or bfloat16, got {np.dtype(dtype)}")
    return np.dtype(dtype)


def _codes(operation: str, x: Any, w: Any, dtype: DTypeLike) -> tuple[Operand, Operand]:
    a, b = operand(f"{operation}: x", x, dtype), operand(f"{operation}: w", w, dtype)
    same_device(operation, a, w=b)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{operation}: x and w must have shapes (rows, inputs) and (outputs, inputs), "
            f"got {a.shape} and {b.shape}"
        )
    if b.shape[0] % STEP or b.shape[1] % STEP or not b.size:
        raise ValueError(
            f"{operation}: w must have outputs and inputs that are multiples of {STEP}, "
            f"got shape {b.shape}"
        )
    return a, b


__all__ = ["cublaslt", "matmul_fp8", "matmul_int8", "tuned_times"]
