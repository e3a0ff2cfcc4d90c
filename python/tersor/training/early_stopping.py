"""Stop when a figure no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .callback import Callback
from .state import TrainingState


class EarlyStopping(Callback):
    """End training when a figure has not improved for some epochs.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which training ends, at least 1.
    monitor : str
        Name in the history; in names that contain "loss" less is better, elsewhere more.
    min_delta : float
        Smallest change that counts, >= 0.
    restore_best : bool
        Leave the model with the weights of its best epoch.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        monitor: str = "validation_accuracy",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise ValueError(f"early_stopping: patience must be an integer >= 1, got {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"early_stopping: min_delta must be >= 0, got {min_delta}")
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.best: float | None = None
        self.waited = 0
        self._weights: dict[str, torch.Tensor] = {}

    def on_fit_begin(self, state: TrainingState) -> None:
        """Check that the figure will be there, and forget an earlier run.

        Parameters
        ----------
        state : TrainingState
        """
        self.best, self.waited, self._weights = None, 0, {}
        if self.monitor.startswith("validation") and not state.options.has_validation:
            raise ValueError(
                f"early_stopping: {self.monitor} must be measured, got no validation data"
            )

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Compare with the best epoch.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
        """
        if self.monitor not in metrics:
            raise ValueError(
                f"early_stopping: monitor must be one of {', '.join(metrics)}, got {self.monitor!r}"
            )
        value = metrics[self.monitor]
        sign = -1 if "loss" in self.monitor else 1
        if self.best is None or sign * (value - self.best) > self.min_delta:
            self.best, self.waited = value, 0
            if self.restore_best:
                self._weights = state.weights()
            return
        self.waited += 1
        if self.waited >= self.patience:
            state.stop(f"{self.monitor} has not improved for {self.waited} epochs")

    def on_fit_end(self, state: TrainingState) -> None:
        """Put the best weights back.

        Parameters
        ----------
        state : TrainingState
        """
        if self._weights:
            state.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its weights and the epochs since.

        Returns
        -------
        dict
        """
        return {"best": self.best, "waited": self.waited, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Parameters
        ----------
        state : mapping
        """
        self.best, self.waited = state["best"], state["waited"]
        self._weights = dict(state["weights"])


__all__ = ["EarlyStopping"]
