"""Functional models anew: other layers, or other values between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras  # type: ignore[import-untyped]

from ..base.error import UnsupportedError
from ..importers.keras_walk import functional, walk

Call = Callable[[Any, list[Any], dict[str, Any]], Any]

_ACTIVATED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


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

    def called(layer: Any, _: str, arguments: list[Any], options: dict[str, Any]) -> list[Any]:
        results = call(layer, arguments, options)
        return list(results) if isinstance(results, (list, tuple)) else [results]

    outputs = walk(model, given, called, "prepare_qat")
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


__all__ = ["Expansion", "flat_layers", "rebuild"]
