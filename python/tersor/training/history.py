"""What a run measured, one row per epoch."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What depends on the machine, not on the seed.
TIMES = ("seconds", "images_per_second")


class History:
    """Rows of figures, one per epoch.

    Every row has ``epoch`` (from 1), ``loss``, ``accuracy`` (of the training batches, in [0, 1],
    while weights moved), ``learning_rate``, ``seconds``, ``images_per_second`` and, where there is
    validation, ``validation_loss`` and ``validation_accuracy``; fp16 adds ``skipped_steps`` and
    ``loss_scale``.

    Attributes
    ----------
    rows : list of dict
    stop_reason : str or None
        Why training ended before its last epoch.

    Examples
    --------
    >>> history = History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5}])
    >>> history["loss"], history.best("loss", "min")["epoch"]
    ([2.0, 1.5], 2)
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self.rows: list[dict[str, float]] = [dict(row) for row in rows]
        self.stop_reason: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> list[float]:
        """Return one figure of every epoch that has it."""
        if not any(name in row for row in self.rows):
            known = ", ".join(self.names) or "none"
            raise KeyError(f"history: name must be one of {known}, got {name!r}")
        return [row[name] for row in self.rows if name in row]

    @property
    def names(self) -> list[str]:
        """Names of the figures, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch.

        Parameters
        ----------
        row : mapping of str to float
        """
        self.rows.append(dict(row))

    def best(self, name: str = "validation_accuracy", mode: str = "max") -> dict[str, float]:
        """Return the row with the best figure, the earliest of equals.

        Parameters
        ----------
        name : str
        mode : {"max", "min"}

        Returns
        -------
        dict of str to float

        Raises
        ------
        KeyError
            If no row has the figure.
        """
        self[name]
        rows = [row for row in self.rows if name in row]
        return (max if mode == "max" else min)(rows, key=lambda row: row[name])

    def to_csv(self, path: str | Path) -> None:
        """Write one line per epoch; the file appears whole or not at all.

        Parameters
        ----------
        path : str or Path
        """
        path = Path(path)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.names)
            writer.writeheader()
            writer.writerows(self.rows)
        part.replace(path)

    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the curves of loss and accuracy beside each other.

        Parameters
        ----------
        figure : matplotlib.figure.Figure, optional
            Where to draw; a new one by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If Matplotlib is not installed.
        ValueError
            If there is no epoch.
        """
        if not self.rows:
            raise ValueError("plot: history must have at least one epoch, got 0")
        if figure is None:
            figure = _pyplot().figure(figsize=(8.0, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, name, factor, label in (
            (left, "loss", 1, "loss"),
            (right, "accuracy", 100, "accuracy (%)"),
        ):
            for prefix, text in (("", "training"), ("validation_", "validation")):
                points = [(r["epoch"], r[prefix + name]) for r in self.rows if prefix + name in r]
                if points:
                    epochs, values = zip(*points, strict=True)
                    axes.plot(epochs, [factor * v for v in values], marker=".", label=text)
            axes.set(xlabel="epoch", ylabel=label)
            axes.grid(alpha=0.3)
            axes.legend()
        return figure

    def __repr__(self) -> str:
        if not self.rows:
            return "History(no epochs)"
        last = ", ".join(
            f"{name}={self.rows[-1][name]:.4g}"
            for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")
            if name in self.rows[-1]
        )
        return f"History({len(self.rows)} epochs, {last})"


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plot needs Matplotlib: pip install 'tersor[report]'") from None
    return pyplot


__all__ = ["TIMES", "History"]
