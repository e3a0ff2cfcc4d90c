"""The extension ``_core_cuda`` and what it says of devices: ``cpp/tersor/cuda/device.h``."""

from __future__ import annotations

import importlib
from typing import Any

from ..base.error import DeviceError

_loaded: Any = None


def extension() -> Any:
    """Return the extension.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If tersor was built without it.
    """
    global _loaded
    if _loaded is None:
        try:
            _loaded = importlib.import_module("tersor._core_cuda")
        except ModuleNotFoundError as error:
            raise ImportError(
                "tersor.cuda needs the CUDA extension: build it with "
                "pip install . -C cmake.define.TERSOR_CUDA=ON (nvcc 12.8 or later)"
            ) from error
    return _loaded


def native() -> Any:
    """Return the extension, once there is a device.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If tersor was built without CUDA.
    DeviceError
        If there is no CUDA device (a RuntimeError).
    """
    module = extension()
    if not module.device_count():
        raise DeviceError("tersor.cuda: no CUDA device")
    return module


def is_available() -> bool:
    """Whether this build has CUDA kernels and the machine a device for them.

    Returns
    -------
    bool

    Examples
    --------
    >>> import tersor.cuda
    >>> tersor.cuda.is_available() == (tersor.cuda.device_count() > 0)
    True
    """
    return device_count() > 0


def device_count() -> int:
    """Count the CUDA devices that tersor can use.

    Returns
    -------
    int
        0 also where tersor was built without CUDA.
    """
    try:
        return int(extension().device_count())
    except ImportError:
        return 0


def device_info(device: int = 0) -> dict[str, Any]:
    """Describe a device.

    Parameters
    ----------
    device : int, default 0

    Returns
    -------
    dict
        ``name``, ``compute_capability``, ``multiprocessors``, ``l2_bytes``, ``memory_bytes``.

    Raises
    ------
    ImportError
        If tersor was built without CUDA.
    DeviceError
        If there is no such device.
    """
    return dict(native().device_info(device))


__all__ = ["device_count", "device_info", "extension", "is_available", "native"]
