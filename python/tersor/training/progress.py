"""A progress bar on the standard error stream, and a line per epoch."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .callback import Callback
from .state import TrainingState

# Refreshes per second: redrawing costs time that two cores do not have.
_REFRESH = 4


class ProgressBar(Callback):
    """Show epoch, loss, accuracy, images/s and the time left; only in the main process.

    Parameters
    ----------
    console : rich.console.Console, optional
        Standard error by default. Where it is no terminal, only the lines per epoch appear.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._shown = 0.0
        self._first = 0
        self._began = 0.0

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Open the bar before the first epoch.

        Parameters
        ----------
        state : TrainingState
        """
        if not state.is_main or self._bar is not None:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=state.total_steps, figures="")
        self._first, self._began = state.global_step, time.perf_counter()
        if self._console.is_terminal:
            self._bar.start()

    def on_step_end(self, state: TrainingState) -> None:
        """Move the bar a few times a second.

        Parameters
        ----------
        state : TrainingState
        """
        now = time.perf_counter()
        if self._bar is None or not self._console.is_terminal:
            return
        if now - self._shown < 1 / _REFRESH:
            return
        self._shown = now
        done = state.global_step
        per_step = (now - self._began) / max(done - self._first, 1)
        left = per_step * (state.total_steps - done)
        self._bar.update(
            self._task,
            completed=done,
            description=f"epoch {state.epoch + 1}/{state.options.epochs}",
            figures=(
                f"loss {state.loss:.4f}  accuracy {100 * state.accuracy:.2f} %  "
                f"{state.seen / max(state.seconds, 1e-9):.0f} images/s  {_clock(left)} left"
            ),
        )
        self._bar.refresh()

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Print a line that stays.

        Parameters
        ----------
        state : TrainingState
        metrics : dict of str to float
        """
        if not state.is_main:
            return
        text = f"epoch {state.epoch + 1}/{state.options.epochs}  loss {metrics['loss']:.4f}"
        text += f"  accuracy {100 * metrics['accuracy']:.2f} %"
        if "validation_accuracy" in metrics:
            text += f"  validation loss {metrics['validation_loss']:.4f}"
            text += f"  accuracy {100 * metrics['validation_accuracy']:.2f} %"
        text += f"  {metrics['images_per_second']:.0f} images/s  {_clock(metrics['seconds'])}"
        self._console.print(text, highlight=False, soft_wrap=True)

    def on_fit_end(self, state: TrainingState) -> None:
        """Close the bar.

        Parameters
        ----------
        state : TrainingState
        """
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_callbacks(progress: bool) -> list[Any]:
    """Return the bar, or nothing.

    Parameters
    ----------
    progress : bool

    Returns
    -------
    list of Callback
    """
    return [ProgressBar()] if progress else []


__all__ = ["ProgressBar", "progress_callbacks"]
