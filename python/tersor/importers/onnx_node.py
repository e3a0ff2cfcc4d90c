"""One ONNX node as the converters see it: typed attributes with checks, resolved inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .values import Constant, Operand

_REQUIRED: Any = object()

# TensorProto.DataType -> NumPy; bfloat16 (16) is ml_dtypes'.
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


def numpy_dtype(code: int, what: str) -> np.dtype[Any]:
    """NumPy's type of an ONNX element type."""
    if code == 16:
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    if code not in _DTYPES:
        raise ImportFormatError(f"{what}: element type {code} is not supported")
    return np.dtype(_DTYPES[code])


@dataclass
class OnnxNode:
    """Attributes by name, operands in order (None where an optional one is absent)."""

    op: str
    name: str
    opset: int
    attributes: dict[str, Any]
    inputs: list[Operand | None] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        return name in self.attributes

    def _get(self, name: str, kinds: tuple[type, ...], default: Any) -> Any:
        if name not in self.attributes:
            if default is _REQUIRED:
                raise ImportFormatError(f"{self}: attribute {name!r} is missing")
            return default
        value = self.attributes[name]
        if not isinstance(value, kinds):
            raise ImportFormatError(
                f"{self}: attribute {name!r} has the wrong type {type(value).__name__}"
            )
        return value

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        """An int attribute."""
        return int(self._get(name, (int,), default))

    def real(self, name: str, default: Any = _REQUIRED) -> float:
        """A float attribute."""
        return float(self._get(name, (int, float), default))

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        """A string attribute."""
        value = self._get(name, (str, bytes), default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def integers(self, name: str, default: Any = _REQUIRED) -> list[int]:
        """A list of ints."""
        value = self._get(name, (list, tuple), default)
        if not all(isinstance(v, int) for v in value):
            raise ImportFormatError(f"{self}: attribute {name!r} must hold integers")
        return [int(v) for v in value]

    def reals(self, name: str, default: Any = _REQUIRED) -> list[float]:
        """A list of floats."""
        return [float(v) for v in self._get(name, (list, tuple), default)]

    def tensor(self, name: str, default: Any = _REQUIRED) -> NDArray[Any]:
        """A tensor attribute."""
        return np.asarray(self._get(name, (np.ndarray,), default))

    def operand(self, index: int) -> Operand:
        """An input that must be present."""
        if index >= len(self.inputs) or self.inputs[index] is None:
            raise ImportFormatError(f"{self}: input {index} is missing")
        value = self.inputs[index]
        assert value is not None
        return value

    def optional(self, index: int) -> Operand | None:
        """An input that may be absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def array(self, index: int) -> NDArray[Any] | None:
        """An optional input that must be known at import."""
        value = self.optional(index)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise UnsupportedError(
                f"{self}: input {index} ({value.name!r}) must be known at import, but it is "
                f"computed from the network's inputs"
            )
        return value.array

    def axes(self, extra: Sequence[Any]) -> list[int] | None:
        """Axes from the attribute (older opsets) or from an input (newer); None when not given."""
        if self.has("axes"):
            return self.integers("axes")
        if extra and extra[0] is not None:
            return [int(v) for v in np.asarray(extra[0]).reshape(-1)]
        return None


__all__ = ["OnnxNode", "numpy_dtype"]
