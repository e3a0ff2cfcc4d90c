"""Accuracy and work of a cascade at every threshold, and the choice among them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..base.printed_table import PrintedTable


@dataclass(frozen=True)
class CascadeFigures:
    """What a cascade does on data at one threshold.

    Attributes
    ----------
    threshold : float
        Samples with less confidence go to the large network.
    samples : int
    escalation : float
        Share of the samples that go there.
    accuracy, small_accuracy, large_accuracy : float or None
        Of the cascade, and of each network alone on all samples; None without labels.
    small_on_escalated, joint_on_escalated : float or None
        Accuracy of the small network and of the cascade on the samples that go on; None without
        any, or without labels.
    agreement : float
        Share of the samples where the cascade says what the large network says.
    macs, large_macs : float
        Multiply-accumulates of the mean sample, and of the large network alone.
    """

    threshold: float
    samples: int
    escalation: float
    accuracy: float | None
    small_accuracy: float | None
    large_accuracy: float | None
    small_on_escalated: float | None
    joint_on_escalated: float | None
    agreement: float
    macs: float
    large_macs: float

    @property
    def speedup(self) -> float:
        """How many times fewer multiply-accumulates than the large network alone."""
        return self.large_macs / self.macs if self.macs else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes and `speedup` as plain data.

        Returns
        -------
        dict
        """
        return {**asdict(self), "speedup": self.speedup}


@dataclass(frozen=True)
class CascadeCurve:
    """A cascade on data at every threshold; :meth:`Cascade.curve` makes it.

    Attributes
    ----------
    confidence : ndarray of float64, shape (samples,)
        Of the small network, ascending; samples that are NaN come first, as -1.
    small_class, joint_class, large_class : ndarray of int, shape (samples,)
        What each says in that order; `joint_class` is the answer where the sample goes on.
    y : ndarray of int64, shape (samples,), or None
        Labels in that order.
    small_macs, large_macs : int
        Of one sample.
    """

    confidence: NDArray[np.float64]
    small_class: NDArray[np.intp]
    joint_class: NDArray[np.intp]
    large_class: NDArray[np.intp]
    y: NDArray[np.int64] | None
    small_macs: int
    large_macs: int

    def at(self, threshold: float) -> CascadeFigures:
        """Return the figures at a threshold.

        Parameters
        ----------
        threshold : float

        Returns
        -------
        CascadeFigures
        """
        count = len(self.confidence)
        on = int(np.searchsorted(self.confidence, threshold, side="left"))
        answers = np.concatenate([self.joint_class[:on], self.small_class[on:]])
        return CascadeFigures(
            threshold=float(threshold),
            samples=count,
            escalation=on / count,
            accuracy=self._share(answers),
            small_accuracy=self._share(self.small_class),
            large_accuracy=self._share(self.large_class),
            small_on_escalated=self._share(self.small_class[:on]),
            joint_on_escalated=self._share(self.joint_class[:on]),
            agreement=float((answers == self.large_class).mean()),
            macs=self.small_macs + on / count * self.large_macs,
            large_macs=float(self.large_macs),
        )

    def choose(
        self, *, accuracy_drop: float | None = None, speedup: float | None = None
    ) -> CascadeFigures:
        """Return the figures at the threshold that fits a wish best.

        Parameters
        ----------
        accuracy_drop : float, optional
            The least work whose accuracy is at most this share below that of the large network
            alone (by agreement with it where there are no labels).
        speedup : float, optional
            The most work that is this many times less than the large network's.

        Returns
        -------
        CascadeFigures

        Raises
        ------
        ValueError
            If not exactly one wish is given, or it cannot be met.
        """
        if (accuracy_drop is None) == (speedup is None):
            raise ValueError("choose: give accuracy_drop or speedup, one of them")
        if speedup is not None:
            share = (self.large_macs / speedup - self.small_macs) / self.large_macs
            if share < 0:
                most = self.large_macs / self.small_macs
                raise ValueError(
                    f"choose: speedup must be at most {most:.2f}, what the small network alone "
                    f"saves, got {speedup:g}"
                )
            return self.at(self._between(self._largest_below(share)))
        assert accuracy_drop is not None
        truth = self.large_class if self.y is None else self.y
        gain = np.cumsum(
            (self.joint_class == truth).astype(int) - (self.small_class == truth).astype(int)
        )
        right = int((self.small_class == truth).sum()) + np.concatenate([[0], gain])
        wanted = int((self.large_class == truth).sum()) - accuracy_drop * len(truth)
        # Counts from which a threshold can stand: between samples of different confidence.
        steps = np.flatnonzero(
            np.concatenate([[True], np.diff(self.confidence) > 0, [True]]) & (right >= wanted)
        )
        if len(steps) == 0:
            best = (wanted - right.max()) / len(truth)
            raise ValueError(
                f"choose: no threshold keeps the accuracy, {100 * best:.2f} points are missing at "
                "the best one; another blend or a larger accuracy_drop may help"
            )
        return self.at(self._between(int(steps[0])))

    def table(self, points: int = 11) -> PrintedTable:
        """Return figures at evenly spread escalations.

        Parameters
        ----------
        points : int
            Rows, at least 2.

        Returns
        -------
        PrintedTable
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(title="cascade", title_justify="left")
        for name in ("threshold", "goes on", "MACs", "fewer", "accuracy", "agreement"):
            table.add_column(name, justify="right")
        for share in np.linspace(0, 1, points):
            row = self.at(self._between(self._largest_below(float(share))))
            table.add_row(
                f"{row.threshold:.4f}",
                f"{100 * row.escalation:.1f} %",
                f"{row.macs / 1e6:.2f} M",
                f"{row.speedup:.2f} x",
                "" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
                f"{100 * row.agreement:.2f} %",
            )
        return table

    def _share(self, answers: NDArray[np.intp]) -> float | None:
        if self.y is None or len(answers) == 0:
            return None
        return float((answers == self.y[: len(answers)]).mean())

    def _largest_below(self, share: float) -> int:
        """Most samples, at most a share of them, that a threshold can send on."""
        on = min(len(self.confidence), int(share * len(self.confidence) + 1e-9))
        while 0 < on < len(self.confidence) and self.confidence[on - 1] == self.confidence[on]:
            on -= 1
        return on

    def _between(self, on: int) -> float:
        """Threshold that sends the first `on` samples: midway to the next one."""
        if on == 0:
            return 0.0
        if on == len(self.confidence):
            return float(np.nextafter(max(1.0, self.confidence[-1]), np.inf))
        low, high = max(0.0, self.confidence[on - 1]), self.confidence[on]
        middle = float((low + high) / 2)
        return middle if low < middle else float(high)


__all__ = ["CascadeCurve", "CascadeFigures"]
