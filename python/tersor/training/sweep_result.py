"""The trials of a sweep: best, Pareto front, table, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..targets.units import format_bytes

if TYPE_CHECKING:
    from ..base.printed_table import PrintedTable


@dataclass(frozen=True)
class SweepTrial:
    """One network of a sweep.

    Attributes
    ----------
    number : int
    state : str
        ``"complete"``, ``"pruned"``, ``"failed"``, ``"running"`` or ``"waiting"``.
    params : mapping of str to object
        What was chosen.
    score : float or None
        Of a complete trial.
    accuracy : float or None
        Of the compressed network on the samples held out.
    trained_accuracy : float or None
        Of the network before it was compressed, after the last epoch that ran.
    size_bytes, macs, parameters : int or None
    seconds : float or None
        To train and to compress.
    epochs : int
        That were run.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    score: float | None
    accuracy: float | None
    trained_accuracy: float | None
    size_bytes: int | None
    macs: int | None
    parameters: int | None
    seconds: float | None
    epochs: int


class SweepResult:
    """What a study knows by now.

    Parameters
    ----------
    study : optuna.Study

    Attributes
    ----------
    study : optuna.Study
        For Optuna's own functions.
    trials : tuple of SweepTrial
    """

    def __init__(self, study: Any) -> None:
        self.study = study
        self.trials = tuple(_trial(t) for t in study.get_trials(deepcopy=False))

    @property
    def complete(self) -> tuple[SweepTrial, ...]:
        """Trials that ran to the end."""
        return tuple(t for t in self.trials if t.state == "complete")

    @property
    def best(self) -> SweepTrial:
        """Complete trial with the highest score.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not self.complete:
            raise ValueError("sweep: no trial is complete")
        return max(self.complete, key=lambda t: (t.score or 0.0, -t.number))

    @property
    def pareto(self) -> tuple[SweepTrial, ...]:
        """Complete trials that no other one beats in accuracy and size, small ones first."""
        front: list[SweepTrial] = []
        ordered = sorted(self.complete, key=lambda t: (t.size_bytes or 0, -(t.accuracy or 0.0)))
        for trial in ordered:
            if not front or (trial.accuracy or 0.0) > (front[-1].accuracy or 0.0):
                front.append(trial)
        return tuple(front)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data.

        Returns
        -------
        dict
        """
        return {
            "study": self.study.study_name,
            "best": self.best.number if self.complete else None,
            "pareto": [t.number for t in self.pareto],
            "trials": [asdict(t) for t in self.trials],
        }

    def table(self, most: int = 20) -> PrintedTable:
        """Return the best trials as a table.

        Parameters
        ----------
        most : int
            Rows.

        Returns
        -------
        PrintedTable
        """
        from ..base.printed_table import PrintedTable

        counts = {state: sum(t.state == state for t in self.trials) for state in _STATES.values()}
        counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        table = PrintedTable(title=f"{self.study.study_name}: {counted}", title_justify="left")
        for name in ("trial", "score", "accuracy", "size", "MACs", "seconds"):
            table.add_column(name, justify="right")
        table.add_column("choice")
        front = {t.number for t in self.pareto}
        for t in sorted(self.complete, key=lambda t: -(t.score or 0.0))[:most]:
            table.add_row(
                f"{t.number}{'*' if t.number in front else ''}",
                f"{t.score:.4f}",
                f"{100 * (t.accuracy or 0.0):.2f} %",
                format_bytes(t.size_bytes or 0),
                f"{(t.macs or 0) / 1e6:.2f} M",
                f"{t.seconds:.1f}",
                ", ".join(f"{name} {value}" for name, value in t.params.items()),
            )
        table.caption = "* no other one is smaller and more accurate"
        return table

    def figures(self) -> dict[str, Any]:
        """Return Plotly figures.

        Returns
        -------
        dict of str to plotly.graph_objects.Figure
            "parallel", "pareto", and "importance" where at least two trials differ.

        Raises
        ------
        ImportError
            If Plotly is not installed.
        ValueError
            If no trial is complete.
        """
        from .sweep_plots import figures

        return figures(self)

    def to_html(self, path: str | Path) -> None:
        """Write the figures and the table as one page that needs no network.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ImportError
            If Plotly is not installed.
        """
        from .sweep_plots import page

        Path(path).write_text(page(self), "utf-8")


_STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def _trial(trial: Any) -> SweepTrial:
    known = trial.user_attrs
    state = _STATES[trial.state.name]
    return SweepTrial(
        number=trial.number,
        state=state,
        params=dict(trial.params),
        score=trial.value if state == "complete" else None,
        accuracy=known.get("accuracy"),
        trained_accuracy=known.get("trained_accuracy"),
        size_bytes=known.get("size_bytes"),
        macs=known.get("macs"),
        parameters=known.get("parameters"),
        seconds=known.get("seconds"),
        epochs=len(trial.intermediate_values),
    )


__all__ = ["SweepResult", "SweepTrial"]
