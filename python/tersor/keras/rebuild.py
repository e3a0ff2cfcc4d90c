"""Functional models anew: other layers, or other values between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras  # type: ignore[import-untyped]

from ..base.error import UnsupportedError

Call = Callable[[Any, list[Any], dict[str, Any]], Any]

_ACTIVATED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


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
    """
    inner = getattr(model, "_functional", None)  # Sequential keeps one once it is built
    found = inner if inner is not None else model
    if not hasattr(found, "_nodes_by_depth"):
        raise UnsupportedError(
            f"{operation}: model must be functional or sequential and built, got {model.name!r} "
            f"({type(model).__name__})"
        )
    return found


def rebuild(
    model: Any, call: Call, enter: Callable[[int, Any], Any] | None = None, name: str | None = None
) -> Any:
    """Build a model of the same graph.

    Parameters
    ----------
    model : keras.Model
        Functional; models inside are unfolded.
    call : callable
        ``call(layer, arguments, options)`` gives the outputs that take the layer's place.
    enter : callable, optional
        ``enter(i, input)`` gives what the layers see of an input.
    name : str, optional

    Returns
    -------
    keras.Model
    """
    inner = functional(model, "prepare_qat")
    inputs = [
        keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name.split(":")[0])
        for t in inner.inputs
    ]
    given = [x if enter is None else enter(i, x) for i, x in enumerate(inputs)]
    outputs = _walk(inner, given, call)
    results = _like(inner, outputs)
    single = isinstance(inner._inputs_struct, keras.KerasTensor) or len(inputs) == 1
    return keras.Model(inputs[0] if single else inputs, results, name=name or model.name)


def _like(inner: Any, outputs: list[Any]) -> Any:
    struct = inner._outputs_struct
    if isinstance(struct, dict):
        return dict(zip(struct, outputs, strict=True))
    if isinstance(struct, (list, tuple)):
        return type(struct)(outputs)
    return outputs[0]


def _walk(inner: Any, inputs: list[Any], call: Call) -> list[Any]:
    values = {id(t): v for t, v in zip(inner.inputs, inputs, strict=True)}

    def resolve(argument: Any) -> Any:
        if id(argument) in values:
            return values[id(argument)]
        if isinstance(argument, (list, tuple)):
            return type(argument)(resolve(a) for a in argument)
        if isinstance(argument, dict):
            return {k: resolve(a) for k, a in argument.items()}
        return argument

    for depth in sorted(inner._nodes_by_depth, reverse=True):
        for node in inner._nodes_by_depth[depth]:
            if node.is_input or all(id(t) in values for t in node.outputs):
                continue
            arguments = list(resolve(node.arguments.args))
            options = dict(resolve(node.arguments.kwargs))
            operation = node.operation
            if hasattr(operation, "_nodes_by_depth") or getattr(operation, "_functional", None):
                flat = list(keras.tree.flatten(arguments))
                results: Any = _walk(functional(operation, "prepare_qat"), flat, call)
            else:
                results = call(operation, arguments, options)
            listed = results if isinstance(results, (list, tuple)) else [results]
            for tensor, value in zip(node.outputs, listed, strict=True):
                values[id(tensor)] = value
    return [values[id(t)] for t in inner.outputs]


class Expansion:
    """A copy of a model in which every rounding point is the output of a layer.

    A SeparableConv2D becomes two layers, an activation inside a layer one of its own.

    Parameters
    ----------
    model : keras.Model

    Attributes
    ----------
    model : keras.Model
    """

    def __init__(self, model: Any) -> None:
        self._copies: dict[str, list[Any]] = {}
        self._calls: dict[str, int] = {}
        self.model = rebuild(model, self._call)
        self.copy_weights(model)

    def copy_weights(self, model: Any) -> None:
        """Take the weights of the original model.

        Parameters
        ----------
        model : keras.Model
        """
        for layer in flat_layers(model):
            own = self._copies.get(layer.name)
            if own:
                self._transfer(layer, own, back=False)

    def give_weights(self, model: Any) -> None:
        """Give the original model these weights.

        Parameters
        ----------
        model : keras.Model
        """
        for layer in flat_layers(model):
            own = self._copies.get(layer.name)
            if own:
                self._transfer(layer, own, back=True)

    def _transfer(self, layer: Any, own: list[Any], *, back: bool) -> None:
        weights = [w for part in own for w in part.weights]
        source, target = (weights, layer.weights) if back else (layer.weights, weights)
        for a, b in zip(source, target, strict=True):
            b.assign(a.value)

    def _call(self, layer: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        name = layer.name
        if name not in self._copies:
            self._copies[name] = _split(layer) if isinstance(layer, keras.layers.Layer) else [layer]
        self._calls[name] = self._calls.get(name, 0) + 1
        if self._calls[name] > 1 and isinstance(layer, _ACTIVATED):
            raise UnsupportedError(
                f"prepare_qat: layer {name!r} must be called once, got a layer that is shared"
            )
        first, *rest = self._copies[name]
        y = first(*arguments, **options)
        for part in rest:
            y = part(y)
        return y


def flat_layers(model: Any) -> list[Any]:
    """Return the layers of a model and of those inside it.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    list of keras.layers.Layer
    """
    found: list[Any] = []
    for layer in model.layers:
        if hasattr(layer, "layers") and isinstance(layer, keras.Model):
            found += flat_layers(layer)
        else:
            found.append(layer)
    return found


def _split(layer: Any) -> list[Any]:
    config = layer.get_config()
    if not isinstance(layer, _ACTIVATED):
        return [type(layer).from_config(config)]
    activation = config.get("activation")
    linear = activation in (None, "linear")
    config["activation"] = None
    parts = _separated(layer, config) if isinstance(layer, keras.layers.SeparableConv2D) else []
    parts = parts or [type(layer).from_config(config)]
    if not linear:
        parts.append(keras.layers.Activation(layer.activation, name=f"{layer.name}_activation"))
    return parts


def _separated(layer: Any, config: dict[str, Any]) -> list[Any]:
    shared = {"data_format": config["data_format"], "dtype": config["dtype"]}
    return [
        keras.layers.DepthwiseConv2D(
            config["kernel_size"],
            strides=config["strides"],
            padding=config["padding"],
            depth_multiplier=config["depth_multiplier"],
            dilation_rate=config["dilation_rate"],
            use_bias=False,
            name=f"{layer.name}_depthwise",
            **shared,
        ),
        keras.layers.Conv2D(
            config["filters"],
            1,
            use_bias=config["use_bias"],
            name=f"{layer.name}_pointwise",
            **shared,
        ),
    ]


__all__ = ["Expansion", "flat_layers", "functional", "rebuild"]
