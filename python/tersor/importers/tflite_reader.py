"""Reading TFLite files that are not trusted: every offset, size and index is checked."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from .errors import ImportFormatError

_MOST_OPERATORS = 100_000
_MOST_ELEMENTS = 1 << 31  # of a tensor
_TYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32",
    "INT64": "int64", "BOOL": "bool", "INT16": "int16", "FLOAT64": "float64",
}  # fmt: skip


@dataclass(eq=False)
class FileTensor:
    """A tensor as the file describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # an open dimension is -1
    data: NDArray[Any] | None
    scale: NDArray[np.float32] | None
    zero_point: NDArray[np.int64] | None
    axis: int


@dataclass(eq=False)
class FileOperator:
    """An operator as the file describes it."""

    op: str
    index: int
    inputs: list[int]  # -1: absent
    outputs: list[int]
    options: Any  # table of the schema, or None

    def __str__(self) -> str:
        return f"operator {self.index} ({self.op})"

    def option(self, name: str, default: Any = None) -> Any:
        """A field of the options; what the schema says where the file has none."""
        return default if self.options is None else getattr(self.options, name)()


@dataclass(eq=False)
class FileModel:
    """The first subgraph of a file."""

    tensors: list[FileTensor]
    operators: list[FileOperator]
    inputs: list[int]
    outputs: list[int]


def require_tflite() -> Any:
    """Return the package of the schema.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import tflite
    except ImportError as error:
        raise ImportError(
            "reading TFLite needs the package tflite: pip install tersor[tflite]"
        ) from error
    return tflite


# What a FlatBuffer with wrong offsets ends in.
BROKEN = (
    struct.error, ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError,
    MemoryError, AssertionError, RecursionError,
)  # fmt: skip


def parse(data: bytes, name: str) -> FileModel:
    """Parse the bytes of a file.

    Parameters
    ----------
    data : bytes
    name : str
        For messages.

    Returns
    -------
    FileModel

    Raises
    ------
    ImportFormatError
        If they are no TFLite model, or a broken one.
    UnsupportedError
        If it has several subgraphs.
    """
    schema = require_tflite()
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ImportFormatError(f"import: {name} is not a TFLite file")
    try:
        return _Reader(schema, data).run()
    except (ImportFormatError, UnsupportedError):
        raise
    except BROKEN as error:
        text = (str(error).splitlines() or [""])[0][:200]
        raise ImportFormatError(
            f"import: {name} is broken ({type(error).__name__}: {text})"
        ) from error


class _Reader:
    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema = schema
        self.data = data
        self.model = schema.Model.GetRootAsModel(data, 0)
        self.ops = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)
        self.options = _names(schema.BuiltinOptions)

    def run(self) -> FileModel:
        model = self.model
        if model.Version() != 3:
            raise ImportFormatError(f"import: TFLite version must be 3, got {model.Version()}")
        if model.SubgraphsLength() != 1:
            raise UnsupportedError(
                f"import: a TFLite file must have one subgraph, got {model.SubgraphsLength()}"
            )
        graph = model.Subgraphs(0)
        count = graph.OperatorsLength()
        if count > _MOST_OPERATORS or graph.TensorsLength() > 4 * _MOST_OPERATORS:
            raise ImportFormatError(f"import: a file of {count} operators is not a network")
        tensors = [self._tensor(graph.Tensors(i)) for i in range(graph.TensorsLength())]
        operators = [self._operator(graph.Operators(i), i, len(tensors)) for i in range(count)]
        inputs = _ids(graph.InputsAsNumpy(), len(tensors))
        outputs = _ids(graph.OutputsAsNumpy(), len(tensors))
        if not inputs or not outputs or -1 in inputs or -1 in outputs:
            raise ImportFormatError("import: the network must have inputs and outputs")
        return FileModel(tensors, operators, inputs, outputs)

    def _tensor(self, t: Any) -> FileTensor:
        name = (t.Name() or b"").decode("utf-8", "replace")
        kind = self.types.get(t.Type(), str(t.Type()))
        shape = _sizes(t.ShapeAsNumpy())
        if t.ShapeSignatureLength():
            signature = _sizes(t.ShapeSignatureAsNumpy())
            shape = signature if len(signature) == len(shape) else shape
        if any(d < -1 for d in shape) or math.prod(map(abs, shape)) > _MOST_ELEMENTS:
            raise ImportFormatError(f"import: tensor {name!r} has an impossible shape {shape}")
        data = self._data(t.Buffer(), name, kind, shape)
        scale = zero = None
        axis = 0
        q = t.Quantization()
        if q is not None and q.ScaleLength():
            scale = np.array(q.ScaleAsNumpy(), np.float32)
            zero = np.array(q.ZeroPointAsNumpy() if q.ZeroPointLength() else 0 * scale, np.int64)
            axis = int(q.QuantizedDimension())
            self._check_parameters(name, shape, scale, zero, axis)
        return FileTensor(name, _TYPES.get(kind, kind), shape, data, scale, zero, axis)

    @staticmethod
    def _check_parameters(
        name: str, shape: tuple[int, ...], scale: Any, zero: Any, axis: int
    ) -> None:
        if not np.isfinite(scale).all() or (scale <= 0).any() or len(zero) not in (1, len(scale)):
            raise ImportFormatError(f"import: tensor {name!r} has impossible parameters")
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise ImportFormatError(
                f"import: tensor {name!r} of shape {shape} has {len(scale)} scales on axis {axis}"
            )

    def _data(
        self, index: int, name: str, kind: str, shape: tuple[int, ...]
    ) -> NDArray[Any] | None:
        if index >= self.model.BuffersLength():
            raise ImportFormatError(f"import: tensor {name!r} names a buffer that does not exist")
        raw = self._bytes(self.model.Buffers(index), name)
        if raw is None:
            return None
        if kind not in _TYPES or any(d < 0 for d in shape):
            raise UnsupportedError(
                f"import: constant {name!r} of type {kind.lower()} and shape {shape} is not "
                f"supported"
            )
        dtype = np.dtype(_TYPES[kind]).newbyteorder("<")
        if raw.size != math.prod(shape) * dtype.itemsize:
            raise ImportFormatError(
                f"import: tensor {name!r} of shape {shape} holds {raw.size} bytes"
            )
        array: NDArray[Any] = raw.view(dtype).reshape(shape)
        return array.astype(dtype.newbyteorder("="))

    def _bytes(self, buffer: Any, name: str) -> NDArray[np.uint8] | None:
        """What a buffer holds, None where nothing; some writers put it behind the tables."""
        if buffer.DataLength():
            return np.array(buffer.DataAsNumpy(), np.uint8)
        start, size = int(buffer.Offset()), int(buffer.Size())
        if start <= 1:
            return None
        if size < 1 or start + size > len(self.data):
            raise ImportFormatError(
                f"import: tensor {name!r} lies at bytes {start} to {start + size} of a file of "
                f"{len(self.data)}"
            )
        return np.array(bytearray(self.data[start : start + size]), np.uint8)

    def _operator(self, o: Any, index: int, tensors: int) -> FileOperator:
        place = o.OpcodeIndex()
        if place >= self.model.OperatorCodesLength():
            raise ImportFormatError(f"import: operator {index} has an unknown code {place}")
        code = self.model.OperatorCodes(place)
        number = _number(code)
        op = self.ops.get(number, f"number {number}")
        inputs = _ids(o.InputsAsNumpy(), tensors) if o.InputsLength() else []
        outputs = _ids(o.OutputsAsNumpy(), tensors) if o.OutputsLength() else []
        options = None
        kind = self.options.get(o.BuiltinOptionsType(), "NONE")
        table = o.BuiltinOptions()
        if kind != "NONE" and table is not None:
            options = getattr(self.schema, kind)()
            options.Init(table.Bytes, table.Pos)
        return FileOperator(op, index, inputs, outputs, options)


def _names(enumeration: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _number(code: Any) -> int:
    """The larger of two fields, as runtimes read them.

    The package's `BuiltinCode` ignores the newer field where the number fits into the older one;
    ai-edge-quantizer writes the newer one only.
    """
    from flatbuffers import number_types

    table = code._tab
    place = table.Offset(10)
    newer = table.Get(number_types.Int32Flags, place + table.Pos) if place else 0
    return max(int(newer), int(code.DeprecatedBuiltinCode()))


def _sizes(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values) if isinstance(values, np.ndarray) else ()


def _ids(values: Any, count: int) -> list[int]:
    ids = list(_sizes(values))
    if any(not -1 <= i < count for i in ids):
        raise ImportFormatError(f"import: tensors must be in [-1, {count}), got {ids}")
    return ids


__all__ = ["BROKEN", "FileModel", "FileOperator", "FileTensor", "parse", "require_tflite"]
