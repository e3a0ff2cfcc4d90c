"""The graph of layers behind a Keras model, in the order of its computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..base.error import GraphError, UnsupportedError

# Layer, its name with those of the models around it, arguments, options -> outputs.
Call = Callable[[Any, str, list[Any], dict[str, Any]], Sequence[Any]]


def functional(model: Any, operation: str) -> Any:
    """Return the graph of layers behind a model.

    Parameters
    ----------
    model : keras.Model
    operation : str
        For messages.

    Returns
    -------
    keras.Model

    Raises
    ------
    UnsupportedError
        If it has none.
    """
    inner = getattr(model, "_functional", None)  # Sequential keeps one once it is built
    found = inner if inner is not None else model
    if not hasattr(found, "_nodes_by_depth"):
        what = (
            "is not built yet; call it once or give it an Input"
            if hasattr(model, "layers") and type(model).__name__ == "Sequential"
            else "is neither functional nor sequential"
        )
        raise UnsupportedError(f"{operation}: model {model.name!r} ({type(model).__name__}) {what}")
    return found


def nodes_of(model: Any) -> Iterator[Any]:
    """Yield the nodes of a functional model, sources first; models inside are one node.

    Parameters
    ----------
    model : keras.Model

    Yields
    ------
    node
        Of Keras.
    """
    inner = getattr(model, "_functional", None) or model
    for depth in sorted(inner._nodes_by_depth, reverse=True):
        yield from inner._nodes_by_depth[depth]


def walk(model: Any, inputs: Sequence[Any], call: Call, operation: str, within: str = "") -> Any:
    """Compute a functional model and the models inside it, layer by layer, with any values.

    Parameters
    ----------
    model : keras.Model
    inputs : sequence
        Values of its inputs.
    call : callable
        ``call(layer, name, arguments, options)`` gives the values of a layer's outputs.
    operation : str
        For messages.
    within : str
        Names of the models around it, each with a slash.

    Returns
    -------
    list
        Values of its outputs.

    Raises
    ------
    GraphError
        If a tensor comes from no layer of the model.
    UnsupportedError
        If a model inside has no graph of layers.
    """
    import keras  # type: ignore[import-untyped]

    inner = functional(model, operation)
    values: dict[int, Any] = {id(t): v for t, v in zip(inner.inputs, inputs, strict=True)}

    def resolve(argument: Any) -> Any:
        if id(argument) in values:
            return values[id(argument)]
        if isinstance(argument, (list, tuple)):
            return type(argument)(resolve(a) for a in argument)
        if isinstance(argument, dict):
            return {k: resolve(a) for k, a in argument.items()}
        if isinstance(argument, keras.KerasTensor):
            raise GraphError(
                f"{operation}: tensor {argument.name!r} is made by no layer of model {model.name!r}"
            )
        return argument

    for node in nodes_of(inner):
        if node.is_input or all(id(t) in values for t in node.outputs):
            continue
        arguments = list(resolve(node.arguments.args))
        options = dict(resolve(node.arguments.kwargs))
        layer, name = node.operation, f"{within}{node.operation.name}"
        if hasattr(layer, "_nodes_by_depth") or getattr(layer, "_functional", None) is not None:
            count = len(functional(layer, operation).inputs)
            given = [v for v in keras.tree.flatten(arguments) if v is not None][:count]
            results = walk(layer, given, call, operation, f"{name}/")
        else:
            results = call(layer, name, arguments, options)
        for tensor, value in zip(node.outputs, results, strict=True):
            values[id(tensor)] = value
    return [values[id(t)] for t in inner.outputs]


__all__ = ["functional", "nodes_of", "walk"]
