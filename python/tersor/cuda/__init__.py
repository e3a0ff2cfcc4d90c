"""The capabilities on NVIDIA GPUs: the same names as on the CPU, for arrays in device memory.

``tersor.cuda.quantization``, ``distillation``, ``sparse`` and ``codebook`` take torch tensors,
anything with ``__dlpack__`` and :class:`Array`, without copies, and return what they were given.
Importing this needs neither a GPU nor the extension ``_core_cuda``; using it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .device_array import Array, array, use_stream
    from .native import device_count, device_info, is_available

_EXPORTS: dict[str, str] = {
    "Array": "device_array",
    "array": "device_array",
    "device_count": "native",
    "device_info": "native",
    "is_available": "native",
    "use_stream": "device_array",
}
_SUBMODULES = ("codebook", "distillation", "quantization", "sparse")


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = ["Array", "array", "device_count", "device_info", "is_available", "use_stream"]
