"""ONNX networks. onnx-ir reads and inlines; one walk over the nodes folds and converts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.error import GraphError, UnsupportedError
from ..graph.graph import Graph
from .errors import ImportFormatError, wrapped
from .onnx_constants import as_native, computed, first_line, fold, settled
from .onnx_elementwise import ELEMENTWISE
from .onnx_folding import FOLDERS
from .onnx_layers import LAYERS
from .onnx_node import OnnxNode, numpy_dtype
from .onnx_notes import ORIGIN, remove_rounding, restore_notes
from .onnx_quantization import QUANTIZATION
from .onnx_reader import network_of, read_model, tensor_array
from .onnx_resize import RESIZING
from .onnx_sequences import Parts, split_to_parts
from .onnx_shaping import SHAPING
from .values import BATCH, LEADING, Constant, Operand, SampleBuilder, Value

if TYPE_CHECKING:
    import onnx
    import onnx_ir

CONVERTERS = {**ELEMENTWISE, **SHAPING, **LAYERS, **RESIZING, **QUANTIZATION}
OLDEST_OPSET = 7  # before it, operands did not broadcast like NumPy's
NEWEST_OPSET = 28  # later opsets may change what an operator means
Shapes = Mapping[str, Sequence[int | None]]
_LARGEST_INPUT = 1 << 31  # elements of one sample


def supported_onnx_operators() -> list[str]:
    """ONNX operators that an import understands.

    Returns
    -------
    list of str
    """
    return sorted(
        {
            *CONVERTERS,
            "Constant",
            "ConstantOfShape",
            "If",
            "SequenceAt",
            "SplitToSequence",
            *FOLDERS,
        }
        - {"CumSum", "Mod"}
        | {"CumSum (of constants)", "Mod (of constants)"}
    )


def load_onnx(
    path: str | os.PathLike[str], *, shapes: Shapes | None = None, canonicalize: bool = True
) -> Graph:
    """Read an ``.onnx`` file.

    Parameters
    ----------
    path : path-like
    shapes : mapping of str to sequence of (int or None), optional
        Shape of inputs by name, where the file leaves dimensions open or fixes the wrong batch;
        ``None`` stands for the batch.
    canonicalize : bool
        Fold batch norm, fuse activations and so on (:meth:`Graph.canonicalize`).

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
        An operator or a form of it is not supported; the message names the node.
    """
    path = Path(path)
    model = read_model(path)
    return from_onnx(model, shapes=shapes, canonicalize=canonicalize, description=path.name)


def from_onnx(
    model: onnx.ModelProto | onnx_ir.Model,
    *,
    shapes: Shapes | None = None,
    canonicalize: bool = True,
    description: str = "",
    output_names: Sequence[str] | None = None,
) -> Graph:
    """Convert an ONNX model in memory.

    Parameters
    ----------
    model : onnx.ModelProto or onnx_ir.Model
    shapes : mapping of str to sequence of (int or None), optional
        As in :func:`load_onnx`.
    canonicalize : bool
        Fold batch norm, fuse activations and so on.
    description : str
        Where the network came from.
    output_names : sequence of str, optional
        What the outputs are called instead; "" keeps the model's name.

    Returns
    -------
    Graph
    """
    try:
        network = network_of(model)
        remove_rounding(network)
        given = [value.name or "" for value in network.graph.outputs]
        names = [a or b for a, b in zip(output_names or given, given, strict=True)]
        graph = _convert(network, shapes or {}, names)
        graph.description = description
        if canonicalize:
            graph.canonicalize()
            restore_notes(graph, network.metadata_props)
        else:
            graph.verify()
    except (GraphError, UnsupportedError, ImportError):
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RuntimeError,
        MemoryError,
    ) as error:
        # The structure was not what the format promises; what failed in detail is in the cause.
        raise ImportFormatError(
            f"import: the ONNX model is broken ({type(error).__name__}: {first_line(error)})"
        ) from error
    return graph


def _convert(network: onnx_ir.Model, shapes: Shapes, names: list[str]) -> Graph:
    inputs = _input_types(network, shapes)
    batched = _is_batched(inputs)
    if batched and all(dims[0] == 1 for _, dims in inputs.values()):
        try:  # a fixed batch of one is opened where every operator allows it
            return _Import(network, inputs, True).run(names)
        except (GraphError, UnsupportedError):
            return _Import(network, inputs, False).run(names)
    return _Import(network, inputs, batched).run(names)


InputTypes = dict[str, tuple[np.dtype[Any], list[int | None]]]


def _input_types(network: onnx_ir.Model, shapes: Shapes) -> InputTypes:
    result: InputTypes = {}
    given = [v for v in network.graph.inputs if v.name not in network.graph.initializers]
    known = {value.name or "" for value in given}
    if unknown := set(shapes) - known:
        raise GraphError(f"import: shapes must name inputs {sorted(known)}, got {sorted(unknown)}")
    for value in given:
        name = value.name or ""
        if value.dtype is None:
            raise ImportFormatError(f"import: input {name!r} has no element type")
        if name in shapes:
            dims = [None if d is None or d == -1 else int(d) for d in shapes[name]]
        elif value.shape is not None:
            dims = [int(d) if isinstance(d, int) else None for d in value.shape]
        else:
            raise UnsupportedError(
                f"import: input {name!r} has no shape; give it with "
                f"shapes={{{name!r}: (None, ...)}}"
            )
        open_axes = [i for i, d in enumerate(dims) if d is None and i]
        if open_axes:
            text = ", ".join(
                "None" if i == 0 else "..." if d is None else str(d) for i, d in enumerate(dims)
            )
            raise UnsupportedError(
                f"import: input {name!r} leaves dimension {open_axes[0]} open, only the leading "
                f"batch may be; fix it with shapes={{{name!r}: ({text})}}"
            )
        sizes = [1 if d is None else d for d in dims]
        if any(d < 0 for d in sizes) or int(np.prod(sizes, dtype=object)) > _LARGEST_INPUT:
            raise ImportFormatError(f"import: input {name!r} has an impossible shape {dims}")
        result[name] = (numpy_dtype(int(value.dtype), f"input {name!r}"), dims)
    if not result:
        raise UnsupportedError("import: the network has no inputs")
    return result


def _is_batched(inputs: InputTypes) -> bool:
    leading = {name: (dims[0] if dims else 0) for name, (_, dims) in inputs.items()}
    fixed = [name for name, d in leading.items() if d is not None]
    if fixed and len(fixed) < len(leading):
        name = fixed[0]
        _, dims = inputs[name]
        if not dims:
            raise UnsupportedError(
                f"import: input {name!r} is a scalar that all samples of a batch would share; only "
                f"inputs with a leading batch can stand beside others that have one, so make it a "
                f"constant of the network"
            )
        text = ", ".join(["None", *map(str, dims[1:])]) + ("," if len(dims) == 1 else "")
        raise UnsupportedError(
            f"import: input {name!r} of shape {tuple(dims)} has no open batch dimension while "
            f"others have one; give one for each sample with shapes={{{name!r}: ({text})}}, or "
            f"make it a constant of the network if all samples share it"
        )
    return all(d in (None, 1) for d in leading.values())


class _Import:
    """One walk over the nodes of a network."""

    def __init__(self, network: onnx_ir.Model, inputs: InputTypes, batched: bool) -> None:
        self.network, self.inputs = network, inputs
        self.opset = int(network.opset_imports.get("", 0))
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise UnsupportedError(
                f"import: opset must be in [{OLDEST_OPSET}, {NEWEST_OPSET}], got {self.opset}"
            )
        several = any(not dims or dims[0] != 1 for _, dims in inputs.values())
        self.builder = SampleBuilder(Graph(), batched, batched and several)
        self.values: dict[int, Operand] = {}  # by id of the onnx_ir value
        self.sequences: dict[int, Parts] = {}  # likewise
        self.outputs: list[int] = []

    def run(self, output_names: list[str]) -> Graph:
        for value in self.network.graph.inputs:
            if value.name in self.inputs:
                self.values[id(value)] = self._input(value.name, *self.inputs[value.name])
        self._walk(self.network.graph)
        for value, name in zip(self.network.graph.outputs, output_names, strict=True):
            if id(value) not in self.values:
                raise ImportFormatError(f"import: output {value.name!r} is made by no node")
            self.outputs.append(self._output(name, value.dtype, self.values[id(value)]))
        self.builder.graph.set_outputs(self.outputs)
        return self.builder.graph

    def _input(self, name: str, dtype: np.dtype[Any], dims: list[int | None]) -> Value:
        b = self.builder
        sizes = tuple(1 if d is None else d for d in dims)
        native = (BATCH, *sizes[1:]) if b.batched else sizes
        half = dtype.name in ("float16", "bfloat16")  # computed in float32, so taken in float32
        edge = b.graph.add_input(name, "float32" if half else dtype.name, native)
        if dtype.name == "float64":
            edge = b.node("cast", [edge], {"to": "float32"})
        return Value(edge, native, sizes, LEADING if b.batched else None, name)

    def _output(self, name: str, dtype: Any, value: Operand) -> int:
        b = self.builder
        if isinstance(value, Constant):
            raise UnsupportedError(f"import: output {name!r} does not depend on the inputs")
        if b.batched and (value.shape[:1] != (1,) or value.batch not in (LEADING, None)):
            raise UnsupportedError(
                f"import: output {name!r} of shape {value.shape} for one sample has no leading "
                f"batch"
            )
        edge = b.arranged(value, b.natural(value.shape).native)
        graph = b.graph
        taken = {*graph.input_ids, *self.outputs}
        if edge in taken:  # an input, or a value that is returned twice
            edge = b.node("identity", [edge], {}, "", name)
        elif name not in {graph.edge(i).name for i in taken}:
            graph.rename(edge, name)
        wanted = None if dtype is None else numpy_dtype(int(dtype), f"output {name!r}").name
        if wanted == "float64":
            edge = b.node("cast", [edge], {"to": wanted})
            graph.rename(edge, name)
        return edge

    def _walk(self, graph: onnx_ir.Graph) -> None:
        for name, value in graph.initializers.items():
            if value.const_value is None:
                raise ImportFormatError(f"import: initializer {name!r} has no data")
            array = as_native(tensor_array(value.const_value))
            origin = str(value.const_value.metadata_props.get(ORIGIN, name))
            self.values[id(value)] = Constant(array, name, origin)
        for node in graph:
            if node.op_type == "SplitToSequence":
                self.sequences[id(node.outputs[0])] = split_to_parts(self._described(node))
                continue
            results = self._node(node)
            if len(results) < len([o for o in node.outputs if o.name]):
                raise UnsupportedError(
                    f"node {node.name!r} ({node.op_type}): output {len(results)} is not supported"
                )
            for value, result in zip(node.outputs, results, strict=False):
                self.values[id(value)] = result

    def _described(self, source: onnx_ir.Node) -> OnnxNode:
        node = OnnxNode(
            source.op_type,
            source.name or (source.outputs[0].name if source.outputs else "") or "",
            self.opset,
            _attributes(source.attributes.values()),
            [self._operand(v, source) for v in source.inputs],
            [v.name or "" for v in source.outputs],
        )
        node.inputs = [settled(node, i, x) for i, x in enumerate(node.inputs)]
        return node

    def _node(self, source: onnx_ir.Node) -> Sequence[Operand]:
        parts = self.sequences.get(id(source.inputs[0])) if source.inputs else None
        node = self._described(source)
        if parts is not None and node.op == "SequenceAt":
            return [parts.part(self.builder, node)]
        if source.domain not in ("", "ai.onnx"):
            raise _unknown_operator(f"{source.domain}.{source.op_type}", node.name)
        if node.op == "If":
            return self._branch(node)
        if node.op == "Constant":
            return [_constant_node(node)]
        known = all(x is None or isinstance(x, Constant) for x in node.inputs)
        if known and node.op in FOLDERS and (node.inputs or node.op == "ConstantOfShape"):
            return fold(node)
        if node.op not in CONVERTERS:
            raise _unknown_operator(node.op, node.name)
        first = node.inputs[0] if known and node.inputs else None
        alone = isinstance(first, Constant) and first.array.dtype == np.float32
        if alone and node.op not in QUANTIZATION:
            return computed(node, CONVERTERS[node.op])
        result = CONVERTERS[node.op](self.builder, node)
        return result if isinstance(result, list) else [result]

    def _operand(self, value: onnx_ir.Value | None, source: onnx_ir.Node) -> Operand | None:
        if value is None or (not value.name and id(value) not in self.values):
            return None
        if id(value) in self.sequences:
            if source.op_type == "SequenceAt":
                return None
            raise UnsupportedError(
                f"import: node {source.name!r} ({source.op_type}) uses a sequence of tensors; only "
                f"SequenceAt can"
            )
        if id(value) not in self.values:
            raise ImportFormatError(
                f"import: node {source.name!r} ({source.op_type}) uses {value.name!r}, which is "
                f"made by no node before it"
            )
        return self.values[id(value)]

    def _branch(self, node: OnnxNode) -> list[Operand]:
        condition = node.operand(0)
        if not isinstance(condition, Constant) or condition.wide is not None:
            raise UnsupportedError(
                f"{node}: the condition ({condition.name!r}) depends on the network's inputs; only "
                f"branches that are known at import are supported"
            )
        if condition.array.size != 1:
            raise ImportFormatError(f"{node}: the condition must be one truth value")
        graph = node.attributes["then_branch" if condition.array.reshape(-1)[0] else "else_branch"]
        self._walk(graph)
        return [self.values[id(v)] for v in graph.outputs]


def _unknown_operator(op: str, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"import: node {name!r} has the operator {op}, which is not supported; supported ONNX "
        f"operators:\n{wrapped(supported_onnx_operators())}"
    )


def _attributes(attributes: Iterable[Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for attribute in attributes:
        value = attribute.value
        if hasattr(value, "numpy") and hasattr(value, "const_value") is False:
            value = tensor_array(value)
        result[attribute.name] = value
    return result


def _constant_node(node: OnnxNode) -> Constant:
    for name, value in node.attributes.items():
        if name == "value":
            array = node.tensor("value")
        elif name in ("value_float", "value_floats"):
            array = np.asarray(value, np.float32)
        elif name in ("value_int", "value_ints"):
            array = np.asarray(value, np.int64)
        else:
            continue
        return Constant(as_native(array), node.outputs[0], node.outputs[0])
    raise UnsupportedError(f"{node}: this kind of constant is not supported")


__all__ = ["from_onnx", "load_onnx", "supported_onnx_operators"]
