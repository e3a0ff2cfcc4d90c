"""A small network first, a larger one where the small one is unsure."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.schema import check_integer
from ..data.load import as_dataset, to_numpy
from ..report.model import graph_of, open_session
from ..runtime import Session
from ..targets.units import parse_share
from .cascade_curve import CascadeCurve, CascadeFigures
from .confidence import confidence

# Rows that both networks see at a time while a threshold is chosen.
_BATCH = 256


@dataclass(frozen=True)
class CascadeOutput:
    """What a cascade says of a batch.

    Attributes
    ----------
    scores : ndarray of float32, shape (rows, classes)
        Of the network that decided. Those of two networks may differ in scale: compare them within
        a row.
    escalated : ndarray of bool, shape (rows,)
        Where the large network decided.
    confidence : ndarray of float64, shape (rows,)
        Of the small network.
    """

    scores: NDArray[np.float32]
    escalated: NDArray[np.bool_]
    confidence: NDArray[np.float64]


class Cascade:
    """Run a small network on every sample, and a large one where the small one is unsure.

    Parameters
    ----------
    small, large : Graph, CompressedModel or Session
        Classifiers of the same classes. Bytes (uint8) go through the preprocessing that each one
        carries, so the two may want different inputs.
    threshold : float, optional
        Samples of less confidence go to the large network. :meth:`choose_threshold` finds it.
    measure : {"margin", "probability", "entropy"}
        Confidence of the small network, see :func:`tersor.serve.confidence`.
    temperature : float
        Of the small network's logits where confidence is measured, > 0.
    blend : float
        Where the large network is asked, this share of the small one's logits is added to its own,
        >= 0. Two networks err differently, so that a little of the smaller one often helps.
    threads : int
        Of the sessions that are opened here.

    Attributes
    ----------
    threshold : float or None
    samples, escalated : int
        Counted since the cascade was made.

    Raises
    ------
    ValueError
        If an argument is out of range, or the networks have different numbers of classes.

    References
    ----------
    P. Viola, M. Jones: Rapid object detection using a boosted cascade of simple features. CVPR
    2001. W. Jitkrittum et al.: When does confidence-based cascade deferral suffice? NeurIPS 2023.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> from tersor.zoo import load_digits_data, load_digits_network
    >>> large, unseen = load_digits_network(), load_digits_data("calibration")
    >>> small = tersor.compress(large, recipe="int8", calibration=unseen, progress=False)
    >>> cascade = Cascade(small, large)
    >>> figures = cascade.choose_threshold(unseen, accuracy_drop="1 %")
    >>> cascade(load_digits_data().x).shape, cascade.samples
    ((602, 10), 602)
    """

    def __init__(
        self,
        small: Any,
        large: Any,
        *,
        threshold: float | None = None,
        measure: str = "margin",
        temperature: float = 1.0,
        blend: float = 0.0,
        threads: int = 1,
    ) -> None:
        check_integer(threads, least=0, what="Cascade: threads")
        temperature, blend = _number(temperature, "temperature"), _number(blend, "blend")
        confidence(np.zeros((1, 2)), measure, temperature=temperature)
        if blend < 0:
            raise ValueError(f"Cascade: blend must be at least 0, got {blend!r}")
        self._small, self._large = _open(small, threads), _open(large, threads)
        self.small_macs, self.large_macs = _macs(self._small), _macs(self._large)
        self.measure, self.temperature, self.blend = measure, temperature, blend
        classes = [_classes(session) for session in (self._small, self._large)]
        if classes[0] != classes[1]:
            raise ValueError(
                f"Cascade: both networks must have the same classes, got {classes[0]} and "
                f"{classes[1]}"
            )
        self.threshold = None if threshold is None else _number(threshold, "threshold")
        self.samples = self.escalated = 0
        self._counting = threading.Lock()

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        """Classify a batch.

        Parameters
        ----------
        x : array-like, batch first
            As for the sessions.

        Returns
        -------
        ndarray of float32, shape (rows, classes)

        Raises
        ------
        ValueError
            If there is no threshold yet.
        """
        return self.run(x).scores

    def run(self, x: ArrayLike) -> CascadeOutput:
        """Classify a batch, and say who decided.

        Parameters
        ----------
        x : array-like, batch first

        Returns
        -------
        CascadeOutput

        Raises
        ------
        ValueError
            If there is no threshold yet.
        """
        if self.threshold is None:
            raise ValueError("Cascade: threshold must be chosen first (choose_threshold), got None")
        rows = np.asarray(to_numpy(x))
        scores = _scores(self._small, rows)
        sure = self._confidence(scores)
        escalated = ~(sure >= self.threshold)  # NaN goes on
        if escalated.any():
            scores = scores.copy()
            scores[escalated] = self._joint(scores[escalated], rows[escalated])
        with self._counting:
            self.samples += len(rows)
            self.escalated += int(escalated.sum())
        return CascadeOutput(scores, escalated, sure)

    def curve(self, data: Any) -> CascadeCurve:
        """Run both networks on data, for figures at any threshold.

        Parameters
        ----------
        data : Dataset, path, array or pair (x, y)

        Returns
        -------
        CascadeCurve
        """
        dataset = as_dataset(data)
        sure, classes = [], []
        for x, _ in dataset.batches(_BATCH):
            small, large = _scores(self._small, x), _scores(self._large, x)
            sure.append(np.nan_to_num(self._confidence(small), nan=-1.0))
            joint = large + np.float32(self.blend) * small if self.blend else large
            classes.append([part.argmax(axis=1) for part in (small, joint, large)])
        confidences = np.concatenate(sure)
        order = np.argsort(confidences, kind="stable")
        small_class, joint_class, large_class = np.concatenate(classes, axis=1)[:, order]
        return CascadeCurve(
            confidence=confidences[order],
            small_class=small_class,
            joint_class=joint_class,
            large_class=large_class,
            y=None if dataset.y is None else dataset.y[order],
            small_macs=self.small_macs,
            large_macs=self.large_macs,
        )

    def choose_threshold(
        self,
        data: Any,
        *,
        accuracy_drop: float | str | None = None,
        speedup: float | None = None,
    ) -> CascadeFigures:
        """Set the threshold by what the cascade does on data.

        Take samples that neither network was trained on. Networks remember training samples, the
        large one more than the small one, and accuracy then asks for more work than is needed:
        where there are only such samples, augment them and wish for a `speedup`, which needs no
        labels.

        Parameters
        ----------
        data : Dataset, path, array or pair (x, y)
            Without labels, agreement with the large network takes the place of accuracy.
        accuracy_drop : float or str, optional
            Share of the samples that the cascade may lose against the large network alone; 0 is the
            default where there is no `speedup`.
        speedup : float, optional
            How many times fewer multiply-accumulates, > 1.

        Returns
        -------
        CascadeFigures
            On these data.

        Raises
        ------
        ValueError
            If no threshold does that.
        """
        if speedup is not None:
            speedup = _number(speedup, "speedup")
            if speedup <= 1:
                raise ValueError(f"choose_threshold: speedup must be above 1, got {speedup!r}")
        elif accuracy_drop is None:
            accuracy_drop = 0.0
        drop = None
        if accuracy_drop is not None:
            drop = parse_share(accuracy_drop, what="choose_threshold: accuracy_drop")
        figures = self.curve(data).choose(accuracy_drop=drop, speedup=speedup)
        self.threshold = figures.threshold
        return figures

    def evaluate(self, data: Any) -> CascadeFigures:
        """Return what the cascade does on data at its threshold.

        Parameters
        ----------
        data : Dataset, path, array or pair (x, y)

        Returns
        -------
        CascadeFigures

        Raises
        ------
        ValueError
            If there is no threshold yet.
        """
        if self.threshold is None:
            raise ValueError("Cascade: threshold must be chosen first (choose_threshold), got None")
        return self.curve(data).at(self.threshold)

    @property
    def small(self) -> Session:
        """Session of the small network."""
        return self._small

    @property
    def large(self) -> Session:
        """Session of the large network."""
        return self._large

    def _confidence(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        return confidence(scores, self.measure, temperature=self.temperature)

    def _joint(self, small: NDArray[np.float32], rows: NDArray[Any]) -> NDArray[np.float32]:
        large = _scores(self._large, rows)
        return large + np.float32(self.blend) * small if self.blend else large


def _open(model: Any, threads: int) -> Session:
    return model if isinstance(model, Session) else open_session(model, threads)


def _macs(session: Session) -> int:
    graph = session.graph
    return sum(int(graph.macs_of(index)) for index in range(len(graph.nodes)))


def _classes(session: Session) -> int:
    graph = graph_of(session)
    shape = graph.edges[graph.output_ids[0]].shape
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise ValueError(f"Cascade: networks must give rows of classes, got shape {shape}")
    return int(shape[1])


def _scores(session: Session, rows: NDArray[Any]) -> NDArray[np.float32]:
    result = session(rows)
    return np.asarray(result[0] if isinstance(result, tuple) else result, np.float32)


def _number(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"Cascade: {name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"Cascade: {name} must be finite, got {value!r}")
    return float(value)


__all__ = ["Cascade", "CascadeOutput"]
