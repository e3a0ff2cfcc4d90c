"""Reading ONNX files that are not trusted: sizes and paths are checked before data is touched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImportFormatError

if TYPE_CHECKING:
    import onnx
    import onnx_ir

_MOST_NODES = 200_000  # after functions are inlined


def _require() -> tuple[Any, Any]:
    try:
        import onnx
        import onnx_ir
    except ImportError as error:
        raise ImportError(
            "reading ONNX needs the packages onnx and onnx-ir: pip install tersor[onnx]"
        ) from error
    return onnx, onnx_ir


def read_model(path: Path) -> Any:
    """Parse a file; tensors stored beside it are looked at only inside its folder."""
    onnx, onnx_ir = _require()
    data = path.read_bytes()
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # DecodeError of whichever protobuf runtime
        raise ImportFormatError(
            f"import: {path.name} is not an ONNX file or is truncated ({error})"
        ) from error
    if not proto.HasField("graph"):
        raise ImportFormatError(f"import: {path.name} is not an ONNX file (it holds no graph)")
    model = _deserialize(proto)
    onnx_ir.external_data.set_base_dir(model.graph, path.resolve().parent)
    return model


def _deserialize(proto: Any) -> Any:
    import warnings

    _, onnx_ir = _require()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return onnx_ir.from_proto(proto)
    except Exception as error:
        raise ImportFormatError(
            f"import: the ONNX model is inconsistent ({_line(error)})"
        ) from error


def network_of(model: onnx.ModelProto | onnx_ir.Model) -> Any:
    """The model with functions inlined and nodes in topological order."""
    _, onnx_ir = _require()
    network: Any = model if isinstance(model, onnx_ir.Model) else _deserialize(model)
    if len(network.functions):
        _check_expansion(network)
        try:
            network = onnx_ir.passes.common.InlinePass()(network).model
        except Exception as error:
            raise ImportFormatError(
                f"import: functions cannot be inlined ({_line(error)})"
            ) from error
    try:
        network.graph.sort()
    except Exception as error:
        raise ImportFormatError(
            f"import: nodes form a cycle or are inconsistent ({_line(error)})"
        ) from error
    return network


def _check_expansion(network: onnx_ir.Model) -> None:
    """Refuse recursion and explosive nesting of functions before they are inlined."""
    sizes: dict[Any, int] = {}
    open_: set[Any] = set()

    def size_of(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = node.op_identifier()
            total += function_size(key) if key in network.functions else 1
            if total > _MOST_NODES:
                raise ImportFormatError(
                    f"import: functions expand to more than {_MOST_NODES} nodes"
                )
        return total

    def function_size(key: Any) -> int:
        if key in open_:
            raise ImportFormatError(f"import: function {key[1]!r} calls itself")
        if key not in sizes:
            open_.add(key)
            sizes[key] = size_of(network.functions[key])
            open_.discard(key)
        return sizes[key]

    size_of(network.graph)


def tensor_array(tensor: Any) -> NDArray[Any]:
    """Values of a tensor after its size and its place are checked."""
    _, onnx_ir = _require()
    name = str(getattr(tensor, "name", ""))
    dims = [int(d) for d in tensor.shape]
    if any(d < 0 for d in dims):
        raise ImportFormatError(f"import: tensor {name!r} has a negative dimension {dims}")
    if isinstance(tensor, onnx_ir.ExternalTensor):
        _check_external(tensor, name, dims)
    try:
        array = np.asarray(tensor.numpy())
    except Exception as error:
        raise ImportFormatError(
            f"import: tensor {name!r} of shape {dims} cannot be read ({_line(error)})"
        ) from error
    if list(array.shape) != dims or array.dtype.kind in "OSU":
        raise ImportFormatError(f"import: tensor {name!r} does not hold numbers of shape {dims}")
    return array


def _check_external(tensor: Any, name: str, dims: list[int]) -> None:
    base = Path(tensor.base_dir or ".").resolve()
    path = (base / str(tensor.location)).resolve()
    if Path(str(tensor.location)).is_absolute() or not path.is_relative_to(base):
        raise ImportFormatError(
            f"import: tensor {name!r} points outside the folder of the file: {tensor.location!s}"
        )
    if not path.is_file():
        raise ImportFormatError(
            f"import: tensor {name!r} is stored in {tensor.location!s}, which is missing"
        )
    offset = int(tensor.offset or 0)
    needed = math.prod(dims) * tensor.dtype.bitwidth // 8
    if offset < 0 or offset + needed > path.stat().st_size or (tensor.length or needed) < needed:
        raise ImportFormatError(
            f"import: tensor {name!r} reaches beyond the end of {tensor.location!s}"
        )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


__all__ = ["network_of", "read_model", "tensor_array"]
