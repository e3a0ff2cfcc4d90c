"""Quantization-aware training of Keras models with an unchanged ``model.fit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras  # type: ignore[import-untyped]

from ..base.error import UnsupportedError
from ..compress.qat_scheme import Scheme
from ..compress.recipe import Recipe
from .qat_network import KerasNetwork
from .quantized_layer import QuantizedLayer
from .quantizers import FakeQuantize
from .rebuild import flat_layers

Phase = Literal["observe", "quantize", "settle", "freeze"]


def prepare_qat(
    model: keras.Model,
    recipe: Recipe | Mapping[str, Any] | str | Path = "int8",
    *,
    learned_scales: bool | None = None,
    momentum: float = 0.05,
) -> keras.Model:
    """Make a model train with the rounding that it will have when it is deployed.

    Quantizers stand where post-training quantization puts them: on the weights and biases of
    Conv2D, DepthwiseConv2D, SeparableConv2D and Dense, and on every edge that is a rounding point.
    BatchNormalization is folded into the weight before it is rounded.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, built; channels last. It is not changed.
    recipe : Recipe, mapping, str or Path, default "int8"
        "int8", or "w4a8" for 4-bit weights; `layers` and `dense_per_channel` count.
    learned_scales : bool, optional
        Train the scales of the weights too (LSQ); by default those of weights of fewer than 8 bits.
        Else they follow the largest weights.
    momentum : float, default 0.05
        Share of a new batch in the ranges of the activations, in (0, 1].

    Returns
    -------
    keras.Model
        Compile and fit it like any model; :class:`QuantizationSchedule` is the callback that
        observes, rounds and freezes. :func:`tersor.from_keras` turns it into an int8 graph with
        exactly its parameters, :func:`finalize` into the plain model again. Save its weights, not
        the model, to continue later.

    Raises
    ------
    UnsupportedError
        The model has no graph of layers or mixed precision, or a quantized edge is no layer's
        output.
    ValueError
        The recipe does not round activations.

    References
    ----------
    Esser et al., "Learned Step Size Quantization", ICLR 2020.

    Examples
    --------
    >>> import keras, tersor                                                   # doctest: +SKIP
    >>> prepared = tersor.keras.prepare_qat(model, "w4a8")                     # doctest: +SKIP
    >>> prepared.compile("adam", "sparse_categorical_crossentropy")            # doctest: +SKIP
    >>> prepared.fit(x, y, callbacks=[tersor.keras.QuantizationSchedule()])    # doctest: +SKIP
    >>> session = tersor.Session(tersor.from_keras(prepared))                  # doctest: +SKIP
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"prepare_qat: model must be a keras.Model, got {type(model).__name__}")
    if _network(model) is not None:
        raise ValueError("prepare_qat: model must be a plain model, got a prepared one")
    for layer in flat_layers(model):
        if getattr(layer, "compute_dtype", None) not in (None, "float32") and layer.weights:
            raise UnsupportedError(
                f"prepare_qat: layer {layer.name!r} must compute in float32, got "
                f"{layer.compute_dtype}: build the model without mixed precision"
            )
    scheme = Scheme.parse(recipe, learned_scales=learned_scales, momentum=momentum)
    return KerasNetwork.build(model, scheme)


def finalize(model: keras.Model) -> keras.Model:
    """Return the plain model with the trained weights.

    Parameters
    ----------
    model : keras.Model
        From :func:`prepare_qat`.

    Returns
    -------
    keras.Model
        With the layers of the model that was prepared.

    Raises
    ------
    ValueError
        If the model is not prepared.

    Examples
    --------
    >>> plain = finalize(prepared)                                             # doctest: +SKIP
    """
    network = _network(model)
    if network is None:
        raise ValueError(f"finalize: model must come from prepare_qat, got {model.name!r}")
    return network.plain()


def set_qat_phase(model: keras.Model, phase: Phase) -> None:
    """Choose what the quantizers of a model do.

    Parameters
    ----------
    model : keras.Model
        From :func:`prepare_qat`.
    phase : {"observe", "quantize", "settle", "freeze"}
        "observe" only measures ranges; when it ends, learned scales begin where the squared error
        of the weight is least. "quantize" rounds while ranges follow, "settle" holds the
        statistics of BatchNormalization, which now run, and rounds biases; "freeze" holds the
        ranges too.

    Raises
    ------
    ValueError
        If the phase is unknown or the model is plain.

    Examples
    --------
    >>> set_qat_phase(prepared, "freeze")                                      # doctest: +SKIP
    """
    if phase not in ("observe", "quantize", "settle", "freeze"):
        raise ValueError(
            f"set_qat_phase: phase must be observe, quantize, settle or freeze, got {phase!r}"
        )
    if _network(model) is None:
        raise ValueError("set_qat_phase: model must come from prepare_qat, got a plain one")
    for layer in model.layers if phase != "observe" else ():
        if isinstance(layer, QuantizedLayer) and not layer.ends.target.quantizing:
            layer.start_scales()
    for layer in model.layers:
        if isinstance(layer, FakeQuantize):
            layer.observing = phase != "freeze"
            layer.quantizing = phase != "observe"
        if isinstance(layer, QuantizedLayer):
            layer.norm_frozen = phase in ("settle", "freeze")
    if getattr(model, "train_function", None) is not None:  # compiled functions know the old phase
        model.make_train_function(force=True)


class QuantizationSchedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Observe, quantize, settle, freeze, by share of the steps of ``model.fit``.

    Parameters
    ----------
    observe : float, default 0.02
        Share of the steps at the beginning that only measure ranges, in [0, 1).
    freeze : float, default 0.7
        Share after which BatchNormalization is held, in [observe, 1]; ranges are held after half of
        the rest.
    """

    def __init__(self, observe: float = 0.02, freeze: float = 0.7) -> None:
        super().__init__()
        if not 0 <= observe < 1:
            raise ValueError(f"QuantizationSchedule: observe must be in [0, 1), got {observe}")
        if not observe <= freeze <= 1:
            raise ValueError(f"QuantizationSchedule: freeze must be in [observe, 1], got {freeze}")
        self.observe = float(observe)
        self.freeze = float(freeze)
        self._epoch = 0
        self._phase: Phase | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Choose the phase."""
        steps = self.params.get("steps") or 1
        share = (self._epoch * steps + batch) / (steps * max(self.params.get("epochs", 1), 1))
        phase: Phase = "quantize"
        if share < self.observe:
            phase = "observe"
        elif share >= self.freeze:
            phase = "freeze" if share >= (1 + self.freeze) / 2 else "settle"
        if phase != self._phase:
            self._phase = phase
            set_qat_phase(self.model, phase)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the model rounding."""
        if self._phase == "observe":
            set_qat_phase(self.model, "quantize")


def _network(model: Any) -> KerasNetwork | None:
    found = getattr(model, "tersor_qat", None)
    return found if isinstance(found, KerasNetwork) else None


__all__ = ["Phase", "QuantizationSchedule", "finalize", "prepare_qat", "set_qat_phase"]
