"""A smaller Keras model: channels removed from its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from ..base.threads import get_threads
from ..compress.channel_criteria import (
    criterion_batches,
    find_units,
    rank_units,
    same_outputs,
    scores_by_node,
)
from ..compress.channels import budget_of, choose_units
from ..graph.channels import remove_channels
from ..importers.keras import from_keras
from .quantizers import as_array
from .rebuild import rebuild

CRITERIA = ("bn_gamma", "l1", "l2", "activation")


def prune_channels(
    model: keras.Model,
    *,
    macs: float | None = None,
    parameters: float | None = None,
    latency: float | None = None,
    keep: float | None = None,
    criterion: str = "l2",
    scores: Mapping[str, Any] | None = None,
    data: Any = None,
    multiple: int = 1,
    exclude: Sequence[str] = (),
) -> keras.Model:
    """Return a smaller model to train on, rebuilt from layers with fewer channels.

    The counterpart of :func:`tersor.torch.prune_channels`.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, built; channels last. It is not changed.
    macs, parameters, latency, keep : float, optional
        Exactly one, see :func:`tersor.compress.prune_channels`.
    criterion : {"bn_gamma", "l1", "l2", "activation"}
    scores : mapping of str to array-like, optional
        Instead: by name of a layer, a number per output channel; low ones go first.
    data : array, optional
        Unlabeled inputs, for "activation".
    multiple : int, default 1
        Widths that shrink are rounded to it, where the network allows it.
    exclude : sequence of str
        Patterns of layers whose output channels stay.

    Returns
    -------
    keras.Model
        Not compiled. It has run, and gives what the network without the channels gives.

    Raises
    ------
    UnsupportedError
        The model has no graph of layers, or a layer does not run with fewer channels.
    ValueError
        If not exactly one budget is given, one cannot be reached, or data are missing.

    Examples
    --------
    >>> small = tersor.keras.prune_channels(model, macs=0.5)                   # doctest: +SKIP
    >>> small.compile("adam", "sparse_categorical_crossentropy")               # doctest: +SKIP
    """
    budget = budget_of(macs=macs, parameters=parameters, latency=latency, keep=keep)
    if criterion not in CRITERIA:
        raise ValueError(f"prune_channels: criterion must be one of {CRITERIA}, got {criterion!r}")
    graph = from_keras(model, canonicalize=False)
    batches = [] if scores is not None else criterion_batches(graph, criterion, data)
    channels = find_units(graph, [exclude] if isinstance(exclude, str) else list(exclude))
    threads = get_threads()
    known = None if scores is None else scores_by_node(graph, scores, "/")
    orders = rank_units(graph, channels, criterion, scores=known, batches=batches, threads=threads)
    mask = choose_units(graph, channels, orders, budget, multiple, threads)
    small = remove_channels(graph, channels, mask)
    values = {e.origin: np.asarray(e.constant) for e in small.edges if e.is_constant and e.origin}
    made: dict[str, Any] = {}

    def call(layer: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer(*arguments, **options)
        if layer.name not in made:
            made[layer.name] = _smaller(layer, values)
        return made[layer.name](*arguments, **options)

    try:
        result = rebuild(model, call, name=model.name)
        for layer in result.layers:
            _give(layer, values)
    except ValueError as error:
        raise UnsupportedError(
            f"prune_channels: {model.name} must run with fewer channels, got: "
            f"{str(error).splitlines()[0]}"
        ) from error
    _check(result, small)
    return result


def _smaller(layer: Any, values: Mapping[str, NDArray[Any]]) -> Any:
    """The layer with as many channels as its weights have now."""
    config = layer.get_config()
    for weight in layer.weights:
        value = values.get(weight.path)
        if value is None or not weight.path.endswith("kernel"):
            continue
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            continue
        axis = 1 if isinstance(layer, keras.layers.Conv2DTranspose) else 0
        if "units" in config:
            config["units"] = int(value.shape[0])
        elif "filters" in config and not weight.path.endswith("depthwise_kernel"):
            config["filters"] = int(value.shape[axis])
    return type(layer).from_config(config)


def _give(layer: Any, values: Mapping[str, NDArray[Any]]) -> None:
    for weight in layer.weights:
        value = values.get(weight.path)
        if value is not None:
            weight.assign(_in_keras(value, tuple(weight.shape), weight.path))


def _in_keras(value: NDArray[Any], shape: tuple[int, ...], path: str) -> NDArray[Any]:
    """A constant of the native graph in Keras's order of axes."""
    if value.ndim >= 3 and len(shape) == value.ndim:
        if value.shape[1] == 1 and shape[-1] * shape[-2] == value.shape[0]:  # depthwise
            rows = value.reshape(shape[-2], shape[-1], *value.shape[2:])
            return np.moveaxis(rows, (0, 1), (-2, -1))
        return np.moveaxis(value, (0, 1), (-1, -2))
    if value.ndim == 2 and path.endswith("kernel"):
        return np.ascontiguousarray(value.T)
    return value.reshape(shape)


def _check(model: Any, graph: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = [
        rng.normal(size=[2, *(d or 1 for d in e.shape[1:])]).astype(np.float32)
        for e in graph.inputs
    ]
    got = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
    outputs = [as_array(y) for y in (got if isinstance(got, (list, tuple)) else [got])]
    if not same_outputs(outputs, graph, inputs):
        raise UnsupportedError(
            "prune_channels: the rebuilt model must give what the network without the channels "
            "gives, got other values"
        )


__all__ = ["CRITERIA", "prune_channels"]
