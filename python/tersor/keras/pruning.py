"""Pruning while a Keras model trains, with an unchanged ``model.fit``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ..pruning import select_layers
from ..pruning.network_masks import (
    SCOPES,
    is_pruned,
    network_masks,
    parse_structure,
    score_weights,
)
from .quantizers import as_array

CRITERIA = ("magnitude", "lamp", "random")


class PruningCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Prune the kernels of convolutions and dense layers while they train.

    After every step dropped weights are set to 0 again, so that the model is a plain one at any
    time. Depthwise kernels are left alone.

    Parameters
    ----------
    schedule : ConstantSchedule, PolynomialSchedule or IterativeSchedule, optional
        Of :mod:`tersor.pruning`, in steps of all epochs together. None holds the zeros that the
        kernels have already.
    structure : str, default "unstructured"
        Or blocks such as ``"1x4"``, or ``"2:4"``, of the kernel as a matrix of a row per output.
    scope : {"global", "layer"}
        The sparsity counts over all layers together, or in each.
    criterion : {"magnitude", "lamp", "random"}
    exclude : sequence of str
        Patterns of names of layers that keep all weights.
    seed : int, default 0
        Of the random criterion.

    Attributes
    ----------
    layers : list of str
    steps : int

    Raises
    ------
    ValueError
        If an argument is out of range; from ``fit`` where there is no layer to prune.

    Examples
    --------
    >>> from tersor.pruning import PolynomialSchedule                          # doctest: +SKIP
    >>> prune = PruningCallback(PolynomialSchedule(0.75, end=1000))            # doctest: +SKIP
    >>> model.fit(x, y, callbacks=[prune])                                     # doctest: +SKIP
    """

    def __init__(
        self,
        schedule: Any = None,
        *,
        structure: str = "unstructured",
        scope: str = "global",
        criterion: str = "magnitude",
        exclude: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if criterion not in CRITERIA:
            raise ValueError(
                f"PruningCallback: criterion must be one of {CRITERIA}, got {criterion!r}"
            )
        if scope not in SCOPES:
            raise ValueError(f"PruningCallback: scope must be global or layer, got {scope!r}")
        parse_structure(structure)
        self.schedule, self.structure, self.scope = schedule, structure, scope
        self.criterion, self.exclude, self.seed = criterion, tuple(exclude), seed
        self.steps = 0
        self._kernels: dict[str, Any] = {}
        self._masks: dict[str, NDArray[np.bool_]] = {}

    @property
    def layers(self) -> list[str]:
        """Names of the pruned layers."""
        return list(self._kernels)

    @property
    def sparsity(self) -> float:
        """Share of the weights of all pruned layers that are dropped."""
        total = sum(mask.size for mask in self._masks.values())
        return 1 - sum(int(mask.sum()) for mask in self._masks.values()) / max(1, total)

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers."""
        found = {layer.name: layer.kernel for layer in _layers(self.model)}
        names = select_layers(found, exclude=self.exclude) if found else []
        if self.schedule is None:
            names = [name for name in names if is_pruned(as_array(found[name]))]
        if not names:
            what = "kernels with zeros" if self.schedule is None else "Conv or Dense layers"
            raise ValueError(f"PruningCallback: model must have {what}, got none")
        self._kernels = {name: found[name] for name in names}
        for name, kernel in self._kernels.items():
            rows = _rows(as_array(kernel))
            if name not in self._masks or self._masks[name].shape != rows.shape:
                self._masks[name] = rows != 0 if is_pruned(rows) else np.ones(rows.shape, np.bool_)
        self._update()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Follow the schedule and hold the zeros."""
        self.steps += 1
        self._update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the sparsity to the history."""
        if logs is not None:
            logs["sparsity"] = self.sparsity

    def _update(self) -> None:
        rows = {name: _rows(as_array(kernel)) for name, kernel in self._kernels.items()}
        if self.schedule is not None and self.schedule.updates_at(self.steps):
            self._masks = network_masks(
                rows,
                self.schedule.sparsity_at(self.steps),
                structure=self.structure,
                scope=self.scope,
                scores=score_weights(rows, self.criterion, self.seed),
            )
        for name, kernel in self._kernels.items():
            mask = self._masks[name]
            if not mask.all():
                kernel.assign(_from_rows(rows[name] * mask))


def _layers(model: Any) -> list[Any]:
    kinds = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
    found = []
    for layer in model._flatten_layers():
        if isinstance(layer, kinds) and layer.built and "Depthwise" not in type(layer).__name__:
            found.append(layer)
    return found


def _rows(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., in, out] to [out, in, ...], a row per output as in the native graph."""
    if kernel.ndim == 2:
        return np.ascontiguousarray(kernel.T)
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


def _from_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    if rows.ndim == 2:
        return np.ascontiguousarray(rows.T)
    return np.ascontiguousarray(np.moveaxis(rows, (0, 1), (-1, -2)))


__all__ = ["PruningCallback"]
