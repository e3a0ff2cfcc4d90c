"""An ONNX graph under construction: unique names, constants, quantized values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from ..graph.graph import Graph
from ..importers.onnx_notes import ORIGIN
from ..quantization import dequantize


def require_onnx() -> Any:
    """Return the package.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "exporting ONNX needs the package onnx: pip install tersor[onnx]"
        ) from error
    return onnx


class OnnxWriter:
    """Nodes and initializers of an ONNX graph; values are known by name."""

    def __init__(self, graph: Graph) -> None:
        self.onnx = require_onnx()
        self.graph, self.edges = graph, graph.edges
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.decoded: dict[str, str] = {}  # layer -> what its weight became
        self.unsigned: set[int] = set()  # edges whose codes are uint8 in the file
        self._taken = {e.name for e in self.edges}
        self._node_names = {n.name for n in graph.nodes}
        self._reals: dict[int, str] = {}  # float values of quantized edges
        self._written: dict[int, str] = {}  # constants

    def fresh(self, name: str) -> str:
        """Return a name that no value has, like `name`."""
        return _unused(name, self._taken)

    def node(
        self, op: str, inputs: list[str], output: str, name: str = "", **attributes: Any
    ) -> str:
        """Append a node and return its output."""
        name = name or _unused(output, self._node_names)
        made = self.onnx.helper.make_node(op, inputs, [output], name=name, **attributes)
        self.nodes.append(made)
        return output

    def array(self, value: Any, name: str, origin: str = "") -> str:
        """Add an initializer under exactly this name."""
        tensor = self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
        if origin and origin != name:
            tensor.metadata_props.add(key=ORIGIN, value=origin)
        self.initializers.append(tensor)
        return name

    def integers(self, values: Any, name: str) -> str:
        """Add an initializer of int64."""
        return self.array(np.asarray(values, np.int64).reshape(-1), self.fresh(name))

    def value(self, edge: int) -> str:
        """Return the value of an edge as it is: codes where it is quantized."""
        e = self.edges[edge]
        return self._constant(edge) if e.is_constant and e.qparams is None else str(e.name)

    def real(self, edge: int) -> str:
        """Return the float value of an edge, dequantized where it has parameters."""
        if self.edges[edge].qparams is None:
            return self.value(edge)
        if edge not in self._reals:
            self._reals[edge] = self.dequantized(edge)
        return self._reals[edge]

    def dequantized(self, edge: int, output: str = "", name: str = "") -> str:
        """Append the DequantizeLinear of a quantized edge."""
        e: Any = self.edges[edge]
        if e.is_constant and holds(e):
            return self.array(dequantize(np.asarray(e.constant), e.qparams), e.name, e.origin)
        block: dict[str, int] = {}
        code_type, shift = self._code_type(edge)
        if e.is_constant:
            array = np.asarray(e.constant)
            if shift:
                array = (array.astype(np.int16) + shift).astype(code_type)
            elif e.dtype != "int32":
                array, block = _held(array, e.qparams)
                code_type = array.dtype
            self.array(array, e.name, e.origin)
        output = output or self.fresh(f"{e.name}:real")
        inputs = [e.name, *self._parameters(e, code_type, shift)]
        return self.node("DequantizeLinear", inputs, output, name, **_axis(e), **block)

    def quantized(self, real: str, edge: int, name: str = "") -> str:
        """Append the QuantizeLinear that makes the codes of an edge."""
        e = self.edges[edge]
        inputs = [real, *self._parameters(e, *self._code_type(edge))]
        name = name or _unused(f"{e.name}:quantize", self._node_names)
        return self.node("QuantizeLinear", inputs, e.name, name, **_axis(e))

    def _code_type(self, edge: int) -> tuple[np.dtype[Any], int]:
        """Type of the codes of an edge in the file, and what is added to ours."""
        if edge in self.unsigned:
            return np.dtype(np.uint8), 128
        return np.dtype(self.edges[edge].dtype), 0

    def _parameters(self, e: Any, code_type: np.dtype[Any], shift: int) -> list[str]:
        q = e.qparams
        scale = np.asarray(q.scale, np.float32)
        zero = (np.asarray(q.zero_point) + shift).astype(code_type)
        if q.group_size:
            shape = list(e.shape)
            shape[q.axis] = -(-shape[q.axis] // q.group_size)
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        elif q.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        names = self.fresh(f"{e.name}:scale"), self.fresh(f"{e.name}:zero_point")
        return [self.array(scale, names[0]), self.array(zero, names[1])]

    def _constant(self, edge: int) -> str:
        if edge not in self._written:
            e = self.edges[edge]
            if e.dtype in ("float16", "bfloat16"):
                stored = self.array(e.constant, self.fresh(f"{e.name}:{e.dtype}"), e.origin)
                self._written[edge] = self.node("Cast", [stored], e.name, to=1)
            else:
                self._written[edge] = self.array(e.constant, e.name, e.origin)
        return self._written[edge]


def holds(edge: Any) -> str:
    """Say why ONNX cannot hold a weight's codes; empty where it can.

    Parameters
    ----------
    edge : Edge
        A constant with quantization parameters.

    Returns
    -------
    str
    """
    q = edge.qparams
    if q.zero_point_float is not None:
        return "float zero points"
    if isinstance(q.axis, tuple):
        return "groups over several axes" if q.group_size else "scales over several axes"
    return ""


def _held(codes: NDArray[Any], q: Any) -> tuple[NDArray[Any], dict[str, int]]:
    """Codes in the narrowest type that ONNX has, and the attribute of blocks."""
    import ml_dtypes

    if q.bits <= 4:
        codes = codes.astype(ml_dtypes.int4 if q.signed else ml_dtypes.uint4)
    return codes, {"block_size": q.group_size} if q.group_size else {}


def _axis(e: Any) -> dict[str, int]:
    return {} if e.qparams.axis is None else {"axis": int(e.qparams.axis)}


def _unused(name: str, taken: set[str]) -> str:
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    taken.add(result)
    return result


def unsupported(what: str, node: Any, why: str) -> UnsupportedError:
    """The refusal of a layer that a format has no form for.

    Parameters
    ----------
    what : str
        The format.
    node : Node
    why : str

    Returns
    -------
    UnsupportedError
    """
    return UnsupportedError(f"export: layer {node.name!r} ({node.op}) has no {what} form: {why}")


__all__ = ["OnnxWriter", "holds", "require_onnx", "unsupported"]
