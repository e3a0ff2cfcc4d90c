"""A TFLite model under construction: tensors, operators, and the FlatBuffer that they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..importers.tflite_reader import require_tflite

_ALIGNMENT = 16  # of constants; the schema says so, and kernels load vectors
_SCHEMA_VERSION = 3


@dataclass
class Tensor:
    """A tensor of the model; constants have data."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # the batch is -1
    data: NDArray[Any] | None = None
    scale: NDArray[np.float32] | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int = 0  # along which several scales differ


@dataclass
class Operator:
    """An operator of the model."""

    name: str  # as in BuiltinOperator
    inputs: list[int]
    outputs: list[int]
    version: int = 1
    options: str = ""  # name of its table of options, without "Options"
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class TfliteModel:
    """Tensors are known by their index; the order of operators is that of execution."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, tensor: Tensor) -> int:
        """Add a tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def remove_unused(self) -> None:
        """Drop operators and tensors that no output needs."""
        needed = set(self.outputs)
        kept: list[Operator] = []
        for operator in reversed(self.operators):
            if needed.intersection(operator.outputs):
                needed.update(operator.inputs)
                kept.append(operator)
        self.operators = kept[::-1]
        needed.update(self.inputs)
        new = {old: i for i, old in enumerate(i for i in range(len(self.tensors)) if i in needed)}
        new[-1] = -1
        self.tensors = [t for i, t in enumerate(self.tensors) if i in new]
        for operator in self.operators:
            operator.inputs = [new[i] for i in operator.inputs]
            operator.outputs = [new[i] for i in operator.outputs]
        self.inputs = [new[i] for i in self.inputs]
        self.outputs = [new[i] for i in self.outputs]

    def encode(self, description: str) -> bytes:
        """Write the FlatBuffer."""
        return _Encoder(self, description).run()


class _Encoder:
    def __init__(self, model: TfliteModel, description: str) -> None:
        import flatbuffers

        self.t = require_tflite()
        self.b = flatbuffers.Builder(1 << 16)
        self.model, self.description = model, description

    def run(self) -> bytes:
        t, b = self.t, self.b
        buffers: list[bytes] = [b""]  # the first one stays empty
        places: dict[bytes, int] = {}
        indices = []
        for tensor in self.model.tensors:
            data = b"" if tensor.data is None else _bytes_of(tensor)
            if data and data not in places:
                places[data] = len(buffers)
                buffers.append(data)
            indices.append(places.get(data, 0))
        codes: dict[tuple[str, int], int] = {}
        for operator in self.model.operators:
            codes.setdefault((operator.name, operator.version), len(codes))
        made_buffers = self._vector([self._buffer(data) for data in buffers])
        subgraph = self._subgraph(indices, codes)
        subgraphs = self._vector([subgraph])
        operator_codes = self._vector([self._code(name, v) for name, v in codes])
        signatures = self._vector([self._signature()])
        description = b.CreateString(self.description)
        t.ModelStart(b)
        t.ModelAddSignatureDefs(b, signatures)
        t.ModelAddVersion(b, _SCHEMA_VERSION)
        t.ModelAddOperatorCodes(b, operator_codes)
        t.ModelAddSubgraphs(b, subgraphs)
        t.ModelAddDescription(b, description)
        t.ModelAddBuffers(b, made_buffers)
        b.Finish(t.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _vector(self, offsets: list[int]) -> int:
        self.b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.b.PrependUOffsetTRelative(offset)
        return int(self.b.EndVector())

    def _numbers(self, values: Any, dtype: str) -> int:
        array = np.asarray(values, dtype)
        return int(self.b.CreateNumpyVector(array.reshape(-1)))

    def _buffer(self, data: bytes) -> int:
        t, b = self.t, self.b
        if not data:
            t.BufferStart(b)
            return int(t.BufferEnd(b))
        b.StartVector(1, len(data), _ALIGNMENT)
        b.head -= len(data)
        b.Bytes[b.head : b.head + len(data)] = data
        vector = b.EndVector()
        t.BufferStart(b)
        t.BufferAddData(b, vector)
        return int(t.BufferEnd(b))

    def _code(self, name: str, version: int) -> int:
        t, b = self.t, self.b
        code = getattr(t.BuiltinOperator, name)
        t.OperatorCodeStart(b)
        t.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
        t.OperatorCodeAddVersion(b, version)
        t.OperatorCodeAddBuiltinCode(b, code)
        return int(t.OperatorCodeEnd(b))

    def _subgraph(self, buffers: list[int], codes: dict[tuple[str, int], int]) -> int:
        t, b, model = self.t, self.b, self.model
        pairs = zip(model.tensors, buffers, strict=True)
        tensors = self._vector([self._tensor(tensor, buffer) for tensor, buffer in pairs])
        inputs, outputs = self._numbers(model.inputs, "i4"), self._numbers(model.outputs, "i4")
        operators = self._vector(
            [self._operator(op, codes[op.name, op.version]) for op in model.operators]
        )
        name = b.CreateString("main")
        t.SubGraphStart(b)
        t.SubGraphAddTensors(b, tensors)
        t.SubGraphAddInputs(b, inputs)
        t.SubGraphAddOutputs(b, outputs)
        t.SubGraphAddOperators(b, operators)
        t.SubGraphAddName(b, name)
        return int(t.SubGraphEnd(b))

    def _signature(self) -> int:
        """Names of inputs and outputs, by which LiteRT's runners and other tools address them."""
        t, b, model = self.t, self.b, self.model
        maps = []
        for ids in (model.inputs, model.outputs):
            entries = []
            for i in ids:
                name = b.CreateString(model.tensors[i].name)
                t.TensorMapStart(b)
                t.TensorMapAddName(b, name)
                t.TensorMapAddTensorIndex(b, i)
                entries.append(int(t.TensorMapEnd(b)))
            maps.append(self._vector(entries))
        key = b.CreateString("serving_default")
        t.SignatureDefStart(b)
        t.SignatureDefAddInputs(b, maps[0])
        t.SignatureDefAddOutputs(b, maps[1])
        t.SignatureDefAddSignatureKey(b, key)
        t.SignatureDefAddSubgraphIndex(b, 0)
        return int(t.SignatureDefEnd(b))

    def _tensor(self, tensor: Tensor, buffer: int) -> int:
        t, b = self.t, self.b
        shape = self._numbers([1 if d < 0 else d for d in tensor.shape], "i4")
        open_ = any(d < 0 for d in tensor.shape)
        signature = self._numbers(tensor.shape, "i4") if open_ else 0
        name = b.CreateString(tensor.name)
        quantization = 0 if tensor.scale is None else self._quantization(tensor)
        t.TensorStart(b)
        t.TensorAddShape(b, shape)
        t.TensorAddType(b, getattr(t.TensorType, tensor.dtype.upper()))
        t.TensorAddBuffer(b, buffer)
        t.TensorAddName(b, name)
        if quantization:
            t.TensorAddQuantization(b, quantization)
        if open_:
            t.TensorAddShapeSignature(b, signature)
        t.TensorAddHasRank(b, True)
        return int(t.TensorEnd(b))

    def _quantization(self, tensor: Tensor) -> int:
        t, b = self.t, self.b
        scale = self._numbers(tensor.scale, "f4")
        zero_point = self._numbers(tensor.zero_point, "i8")
        t.QuantizationParametersStart(b)
        t.QuantizationParametersAddScale(b, scale)
        t.QuantizationParametersAddZeroPoint(b, zero_point)
        t.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        return int(t.QuantizationParametersEnd(b))

    def _operator(self, operator: Operator, code: int) -> int:
        t, b = self.t, self.b
        inputs = self._numbers(operator.inputs, "i4")
        outputs = self._numbers(operator.outputs, "i4")
        options = self._options(operator) if operator.options else 0
        t.OperatorStart(b)
        t.OperatorAddOpcodeIndex(b, code)
        t.OperatorAddInputs(b, inputs)
        t.OperatorAddOutputs(b, outputs)
        if operator.options:
            kind = getattr(t.BuiltinOptions, f"{operator.options}Options")
            t.OperatorAddBuiltinOptionsType(b, kind)
            t.OperatorAddBuiltinOptions(b, options)
        return int(t.OperatorEnd(b))

    def _options(self, operator: Operator) -> int:
        t, b, table = self.t, self.b, f"{operator.options}Options"
        getattr(t, f"{table}Start")(b)
        for name, value in operator.fields.items():
            getattr(t, f"{table}Add{name}")(b, value)
        return int(getattr(t, f"{table}End")(b))


def _bytes_of(tensor: Tensor) -> bytes:
    data = np.ascontiguousarray(tensor.data)
    return data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()


__all__ = ["Operator", "Tensor", "TfliteModel", "require_tflite"]
