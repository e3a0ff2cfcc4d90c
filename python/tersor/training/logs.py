"""Where figures are kept: CSV, TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from .callback import Callback
from .state import TrainingState


class CsvLog(Callback):
    """Write ``metrics.csv``, one line per epoch; a resumed run writes the earlier ones too.

    Parameters
    ----------
    folder : str or Path
        Is made where it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Write the file anew: it is small, and never half a line.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
        """
        if state.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            state.history.to_csv(self.folder / "metrics.csv")


class TensorBoardLog(Callback):
    """Write TensorBoard events: every figure per epoch, loss and learning rate within epochs.

    Parameters
    ----------
    folder : str or Path
    every : int
        Steps between two points within an epoch.

    Raises
    ------
    ImportError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path, every: int = 50) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("TensorBoardLog needs TensorBoard: pip install tensorboard")
        self.folder = Path(folder)
        self.every = every
        self._writer: Any = None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Open the file; what lies after a resumed step is dropped.

        Parameters
        ----------
        state : TrainingState
        """
        if state.is_main and self._writer is None:
            module = importlib.import_module("torch.utils.tensorboard")
            self._writer = module.SummaryWriter(str(self.folder), purge_step=state.global_step + 1)

    def on_step_end(self, state: TrainingState) -> None:
        """Write a point every few steps.

        Parameters
        ----------
        state : TrainingState
        """
        if self._writer is not None and state.global_step % self.every == 0:
            self._writer.add_scalar("step/loss", state.loss, state.global_step)
            self._writer.add_scalar("step/learning_rate", state.learning_rate, state.global_step)

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Write the figures of the epoch.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
        """
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(f"epoch/{name}", value, state.global_step)
            self._writer.flush()

    def on_fit_end(self, state: TrainingState) -> None:
        """Close the file.

        Parameters
        ----------
        state : TrainingState
        """
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandbLog(Callback):
    """Send every figure per epoch to Weights & Biases.

    Parameters
    ----------
    **settings : object
        For ``wandb.init``, such as project, name, mode="offline".

    Raises
    ------
    ImportError
        If wandb is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        try:
            self._wandb = importlib.import_module("wandb")
        except ImportError:
            raise ImportError("WandbLog needs Weights & Biases: pip install wandb") from None
        self._settings = settings
        self._run: Any = None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Open the run, with the options as its configuration.

        Parameters
        ----------
        state : TrainingState
        """
        if state.is_main and self._run is None:
            config = state.options.fingerprint(batch_size=state.options.batch_size)
            self._run = self._wandb.init(**{"config": config, **self._settings})

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Send the figures.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
        """
        if self._run is not None:
            self._run.log(dict(metrics), step=state.global_step)

    def on_fit_end(self, state: TrainingState) -> None:
        """Close the run.

        Parameters
        ----------
        state : TrainingState
        """
        if self._run is not None:
            self._run.finish()
            self._run = None


def log_callbacks(folder: str | Path | None) -> list[Callback]:
    """Return a CSV log and, where TensorBoard is installed, one for it.

    Parameters
    ----------
    folder : str, Path or None

    Returns
    -------
    list of Callback
    """
    if folder is None:
        return []
    logs: list[Callback] = [CsvLog(folder)]
    if importlib.util.find_spec("tensorboard") is not None:
        logs.append(TensorBoardLog(folder))
    return logs


__all__ = ["CsvLog", "TensorBoardLog", "WandbLog", "log_callbacks"]
