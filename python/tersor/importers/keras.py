"""Keras 3 models (functional and sequential, any backend): their layers are walked directly."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.error import UnsupportedError
from ..graph.graph import Graph
from .errors import ImportFormatError, wrapped
from .keras_builder import KerasBuilder, Tensor
from .keras_layers import LAYERS, OPERATIONS
from .keras_walk import functional, walk

if TYPE_CHECKING:
    import keras  # type: ignore[import-untyped]

Shapes = Mapping[str, Sequence[int | None]]
_BACKENDS = ("torch", "jax", "tensorflow", "numpy")  # nothing is computed with it


def from_keras(
    model: keras.Model, *, shapes: Shapes | None = None, canonicalize: bool = True
) -> Graph:
    """Convert a Keras 3 model.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, built; nested models too.
    shapes : mapping of str to sequence of (int or None), optional
        Shape of inputs by name where the model leaves more than the batch open.
    canonicalize : bool
        Fold batch norm, fuse activations and so on.

    Returns
    -------
    Graph
        Inputs and outputs keep the model's order of axes; weights have their path as ``origin``.

    Raises
    ------
    UnsupportedError
        A layer is not supported (the message names it), or the model is a subclass, which has no
        graph of layers.
    """
    keras_module = require_keras()
    if not isinstance(model, keras_module.Model):
        raise TypeError(f"from_keras: model must be a keras.Model, got {type(model).__name__}")
    trained = getattr(model, "tersor_qat", None)
    if trained is not None:
        if shapes or not canonicalize:
            raise ValueError("from_keras: a prepared model has its shapes and is canonical")
        quantized: Graph = trained.to_graph()
        return quantized
    graph = Graph()
    graph.description = model.name
    inner = functional(model, "from_keras")
    builder = KerasBuilder(graph)
    inputs = [_input(builder, t, shapes or {}) for t in inner.inputs]
    unknown = set(shapes or {}) - {t.name for t in inner.inputs}
    if unknown:
        raise ValueError(
            f"from_keras: shapes must name inputs {[t.name for t in inner.inputs]}, got "
            f"{sorted(unknown)}"
        )
    outputs = walk(model, inputs, functools.partial(_convert, builder), "from_keras")
    names = list(getattr(inner, "output_names", []))
    edges = []
    for i, value in enumerate(outputs):
        name = names[i] if i < len(names) else f"output_{i}"
        builder.layer = ""
        edges.append(graph.add_node("identity", [builder.source_order(value)], {}, "", name))
    graph.set_outputs(edges)
    if canonicalize:
        graph.canonicalize()
    else:
        graph.verify()
    return graph


def load_keras(path: str | os.PathLike[str], *, shapes: Shapes | None = None) -> Graph:
    """Read a ``.keras`` or ``.h5`` file.

    Parameters
    ----------
    path : path-like
    shapes : mapping of str to sequence of (int or None), optional
        As in :func:`from_keras`.

    Returns
    -------
    Graph
    """
    keras_module = require_keras()
    file = Path(path)
    if file.suffix.lower() == ".h5":
        _check_h5(file)
    try:
        with _quiet():
            model = keras_module.models.load_model(
                file, compile=False, custom_objects=_tolerant_layers(keras_module)
            )
    except Exception as error:
        raise ImportFormatError(
            f"load: {file.name} cannot be read by Keras ({_line(error)})"
        ) from error
    graph = from_keras(model, shapes=shapes)
    graph.description = file.name
    return graph


def require_keras() -> Any:
    """Import keras; where the configured backend is missing, with one that is there."""
    undecided = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if undecided and importlib.util.find_spec(_configured_backend()) is None:
        found = [b for b in _BACKENDS if b == "numpy" or importlib.util.find_spec(b)]
        os.environ["KERAS_BACKEND"] = found[0]
    try:
        import keras
    except ImportError as error:
        raise ImportError("Keras models need keras 3: pip install tersor[keras]") from error
    if int(keras.__version__.split(".")[0]) < 3:
        raise ImportError(
            f"Keras models need keras 3, got {keras.__version__}: pip install tersor[keras]"
        )
    return keras


def _configured_backend() -> str:
    """What keras.json says; Keras writes TensorFlow into it on its first run, installed or not."""
    config = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        backend = json.loads(config.read_text()).get("backend")
    except (OSError, ValueError, AttributeError):
        backend = None
    return backend if backend in _BACKENDS else "tensorflow"


def _check_h5(file: Path) -> None:
    """Refuse what is no network, and Lambda layers, which carry code."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("reading .h5 files needs h5py: pip install tersor[keras]") from error
    try:
        with h5py.File(file, "r") as h5:
            config = h5.attrs.get("model_config")
    except Exception as error:
        raise ImportFormatError(
            f"load: {file.name} is not an HDF5 file or is damaged ({_line(error)})"
        ) from error
    if config is None:
        raise ImportFormatError(
            f"load: {file.name} holds weights without a network (no model_config)"
        )
    try:
        text = config.decode("utf-8") if isinstance(config, bytes) else str(config)
        classes = _class_names(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ImportFormatError(
            f"load: {file.name} has a damaged model_config ({_line(error)})"
        ) from error
    if "Lambda" in classes:
        raise UnsupportedError(
            f"load: {file.name} has a Lambda layer, which carries code; it is not loaded"
        )


def _class_names(config: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            found.add(config["class_name"])
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            found |= _class_names(item)
    return found


def _tolerant_layers(keras_module: Any) -> dict[str, Any]:
    """Layers of old files whose configuration has a `groups` field that Keras 3 refuses."""

    def tolerant(base: Any) -> Any:
        def from_config(cls: Any, config: dict[str, Any]) -> Any:
            config = dict(config)
            if config.get("groups", 1) == 1:
                config.pop("groups", None)
            return base.from_config.__func__(cls, config)

        return type(base.__name__, (base,), {"from_config": classmethod(from_config)})

    names = (
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
        "Conv1DTranspose",
        "Conv2DTranspose",
    )
    return {name: tolerant(getattr(keras_module.layers, name)) for name in names}


def _input(builder: KerasBuilder, tensor: Any, shapes: Shapes) -> Tensor:
    shape = [None if d in (None, -1) else int(d) for d in shapes.get(tensor.name, tensor.shape)]
    if any(d is None for d in shape[1:]):
        axis = [d is None for d in shape].index(True, 1)
        raise UnsupportedError(
            f"from_keras: input {tensor.name!r} leaves dimension {axis} open, only the leading "
            f"batch may be; fix it with shapes={{{tensor.name!r}: (None, ...)}}"
        )
    if shape and shape[0] == 1:
        shape[0] = None
    dtype = str(tensor.dtype)
    edge = builder.graph.add_input(tensor.name, dtype, shape)
    if dtype in ("float16", "float64", "bfloat16"):
        edge = builder.graph.add_node("cast", [edge], {"to": "float32"})
    return Tensor(edge, tuple(-1 if d is None else d for d in shape))


def _convert(
    builder: KerasBuilder, layer: Any, name: str, arguments: list[Any], options: dict[str, Any]
) -> list[Tensor]:
    table = OPERATIONS if type(layer).__module__.startswith("keras.src.ops") else LAYERS
    for base in type(layer).__mro__:
        if base.__name__ in table:
            builder.layer = name
            result = table[base.__name__](builder, layer, *arguments, **options)
            return list(result) if isinstance(result, (list, tuple)) else [result]
    raise UnsupportedError(
        f"from_keras: layer {name!r} ({type(layer).__name__}) is not supported; "
        f"supported layers:\n{wrapped(sorted(LAYERS))}"
    )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


__all__ = ["from_keras", "load_keras", "require_keras"]
