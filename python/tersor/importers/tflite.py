"""TFLite networks, float or int8. Their quantization is kept as it is."""

from __future__ import annotations

import os
from pathlib import Path

from ..base.error import GraphError, UnsupportedError
from ..graph.graph import Graph
from .errors import ImportFormatError, wrapped
from .tflite_layers import LAYERS
from .tflite_operators import OPERATORS
from .tflite_reader import BROKEN, FileModel, parse
from .tflite_values import BATCH, Known, TfliteBuilder, Value

_CONVERTERS = {**LAYERS, **OPERATORS}
_INPUT_TYPES = ("float32", "int8", "uint8", "int32", "int64", "bool")


def supported_tflite_operators() -> list[str]:
    """TFLite operators that an import understands.

    Returns
    -------
    list of str
    """
    return sorted(_CONVERTERS)


def load_tflite(path: str | os.PathLike[str]) -> Graph:
    """Read a ``.tflite`` file.

    The batch stays open where every operator treats samples on their own. Weights of int8 that
    float layers read directly (TFLite quantizes the input of such layers in each call) become
    float32; those behind a DEQUANTIZE stay codes.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Graph

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportFormatError
        The file is broken.
    UnsupportedError
        An operator or a form of it is not supported; the message names it.
    ImportError
        The package of the schema is missing.
    """
    file = Path(path)
    graph = from_tflite(file.read_bytes(), name=file.name)
    graph.description = file.name
    return graph


def from_tflite(data: bytes, *, name: str = "the model") -> Graph:
    """Convert the bytes of a ``.tflite`` file.

    Parameters
    ----------
    data : bytes
    name : str
        For messages.

    Returns
    -------
    Graph
    """
    model = parse(data, name)
    try:
        shapes = [model.tensors[i].shape for i in model.inputs]
        if all(shape and shape[0] in (1, BATCH) for shape in shapes):
            try:
                return _convert(model, True)
            except (GraphError, UnsupportedError):
                if any(shape[0] == BATCH for shape in shapes):
                    raise
        return _convert(model, False)
    except (GraphError, UnsupportedError, ImportError):
        raise
    except BROKEN as error:
        text = (str(error).splitlines() or [""])[0][:200]
        raise ImportFormatError(
            f"import: {name} is broken ({type(error).__name__}: {text})"
        ) from error


def _convert(model: FileModel, batched: bool) -> Graph:
    b = TfliteBuilder(model, batched)
    for place in model.inputs:
        b.values[place] = _input(b, place)
    for operator in model.operators:
        if operator.op not in _CONVERTERS:
            raise UnsupportedError(
                f"import: {operator} is not supported; supported TFLite operators:\n"
                f"{wrapped(supported_tflite_operators())}"
            )
        _CONVERTERS[operator.op](b, operator)
    outputs: list[int] = []
    for place in model.outputs:
        outputs.append(_output(b, place, outputs))
    b.graph.set_outputs(outputs)
    b.graph.canonicalize()
    return b.graph


def _input(b: TfliteBuilder, place: int) -> Value:
    t = b.model.tensors[place]
    if place in b.values:
        raise ImportFormatError(f"import: input {t.name!r} is constant")
    if t.dtype not in _INPUT_TYPES:
        raise UnsupportedError(
            f"import: input {t.name!r} must be {', '.join(_INPUT_TYPES)}, got {t.dtype.lower()}"
        )
    sizes = [abs(d) for d in t.shape]
    if any(d == BATCH for d in t.shape[1:]) or not t.shape:
        raise UnsupportedError(f"import: input {t.name!r} of shape {t.shape} has open dimensions")
    shape = (BATCH, *sizes[1:]) if b.batched else tuple(sizes)
    # Codes of uint8 become those of int8, 128 lower; a session takes either.
    coded = t.scale is not None and t.dtype == "uint8"
    dtype = "int8" if coded else t.dtype
    edge = b.graph.add_input(t.name or f"input_{place}", dtype, shape)
    parameters = b.parameters(t, f"input {t.name!r}") if t.scale is not None else None
    if parameters is not None:
        b.graph.set_qparams(edge, parameters)
    return Value(int(edge), tuple(range(len(shape))), shape, parameters)


def _output(b: TfliteBuilder, place: int, before: list[int]) -> int:
    value = b.values.get(place)
    name = b.model.tensors[place].name
    if value is None or isinstance(value, Known):
        raise ImportFormatError(f"import: output {name!r} is made by no operator")
    edge = b.natural(value)
    if edge in before or edge in b.graph.input_ids:
        edge = b.node("identity", [edge], {}, name, value.parameters)
    elif name:
        b.graph.rename(edge, name)
    return edge


__all__ = ["from_tflite", "load_tflite", "supported_tflite_operators"]
