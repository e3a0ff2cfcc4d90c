"""Watch a deployed network: drift of its input, agreement with its parent, latency."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.schema import check_integer
from ..data.load import as_dataset, to_numpy
from ..report.model import open_session
from ..targets.units import parse_share
from .agreement_watch import AgreementWatch
from .drift import FeatureDrift, feature_drift
from .features import Features, InputFeatures, flat_rows, output_features

# Rows of the reference: more sharpen little, since a window has far fewer.
_REFERENCE = 4096
_BATCH = 256
# Calls whose times count.
_CALLS = 4096


@dataclass(frozen=True)
class Alarm:
    """Something that clean data would hardly show.

    Attributes
    ----------
    kind : {"drift", "agreement", "non-finite"}
    samples : int
        Seen when it was raised.
    features : tuple of FeatureDrift
        What moved, clearest first; empty for the other kinds.
    message : str
    """

    kind: str
    samples: int
    features: tuple[FeatureDrift, ...]
    message: str


class Monitor:
    """Run a network and watch what it is fed and what it answers.

    A window of samples is compared with the calibration data feature by feature: of the inputs
    brightness, contrast, range, detail and noise (per channel where there are few), of the outputs
    confidence and class. Each feature is tested by Kolmogorov-Smirnov and by the population
    stability index, and the level `alpha` of a window is divided among all of them (Bonferroni), so
    that clean windows raise an alarm with at most about that chance, whatever the number of
    features, their correlation or the size of the calibration set.

    Parameters
    ----------
    model : Graph, CompressedModel, Session, Cascade or callable
        What is deployed: from a batch to scores.
    calibration : Dataset, path or array
        Samples as they will come (raw bytes where raw bytes will), not sorted; at most 4,096 are
        drawn. A few hundred will do.
    parent : Graph, CompressedModel, Session or callable, optional
        The float network, run beside on some samples.
    parent_share : float or str
        Share of the samples that it sees, in (0, 1].
    window : int
        Samples that are judged together, >= 32.
    alpha : float
        Chance that a clean window raises an alarm, in (0, 0.5).
    layout : {"NHWC", "NCHW"}, optional
        Of images; by default guessed from the axis of 1, 3 or 4 channels.
    seed : int
        Draws the reference and the samples for the parent.

    Attributes
    ----------
    alarms : list of Alarm
        At most one of each kind for a window.
    drift : tuple of FeatureDrift
        Of the last full window, clearest first.
    samples, windows, non_finite : int
        Seen so far.

    References
    ----------
    S. Rabanser, S. Günnemann, Z. Lipton: Failing loudly. An empirical study of methods for
    detecting dataset shift. NeurIPS 2019 (univariate tests with Bonferroni's correction).

    Examples
    --------
    >>> from tersor.zoo import load_digits_data, load_digits_network
    >>> x = load_digits_data("calibration").x
    >>> monitor = Monitor(load_digits_network(), x, window=128)
    >>> scores = monitor(load_digits_data().x[:256])
    >>> len(monitor.alarms)
    0
    >>> darker = monitor(load_digits_data().x[:128] // 2)
    >>> monitor.alarms[0].kind
    'drift'
    """

    def __init__(
        self,
        model: Any,
        calibration: Any,
        *,
        parent: Any = None,
        parent_share: float | str = 0.02,
        window: int = 256,
        alpha: float = 1e-3,
        layout: Literal["NHWC", "NCHW"] | None = None,
        seed: int = 0,
    ) -> None:
        self.window = check_integer(window, least=32, what="Monitor: window")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.floating)):
            raise TypeError(f"Monitor: alpha must be a number, got {alpha!r}")
        if not 0 < alpha < 0.5:
            raise ValueError(f"Monitor: alpha must be in (0, 0.5), got {alpha!r}")
        self.alpha = float(alpha)
        self._share = parse_share(parent_share, what="Monitor: parent_share")
        if self._share == 0:
            raise ValueError("Monitor: parent_share must be above 0, got 0")
        self._run = _callable(model)
        self._parent = None if parent is None else _callable(parent)
        self._random = np.random.default_rng(seed)
        x = _reference_rows(calibration, self._random)
        self._features = InputFeatures(x, layout=layout)
        self._reference, self._watch = self._calibrate(x)
        self._lock = threading.Lock()
        self._pending: list[Features] = []
        self._times: deque[float] = deque(maxlen=_CALLS)
        self.calls, self.seconds = 0, 0.0
        self.samples = self.windows = self.non_finite = 0
        self.alarms: list[Alarm] = []
        self.drift: tuple[FeatureDrift, ...] = ()
        self._warned_non_finite = False

    def __call__(self, x: ArrayLike) -> Any:
        """Run the network on a batch and watch.

        Parameters
        ----------
        x : array-like, batch first

        Returns
        -------
        ndarray or tuple of ndarray
            What the network returns.
        """
        rows = np.asarray(to_numpy(x))
        start = time.perf_counter()
        outputs = self._run(rows)
        self.observe(rows, outputs, seconds=time.perf_counter() - start)
        return outputs

    def observe(self, x: ArrayLike, outputs: Any = None, *, seconds: float | None = None) -> None:
        """Watch a batch that was run elsewhere.

        Parameters
        ----------
        x : array-like, batch first
        outputs : ndarray or tuple of ndarray, optional
            What the network said; without it, it is run here (and not timed).
        seconds : float, optional
            Time of the call.

        Raises
        ------
        ValueError
            If samples have another shape than the calibration data, or the time is negative or not
            finite.
        """
        if seconds is not None and not 0 <= float(seconds) < math.inf:
            raise ValueError(f"Monitor: seconds must be at least 0 and finite, got {seconds!r}")
        rows = np.asarray(to_numpy(x))
        scores = _first(self._run(rows) if outputs is None else outputs)
        found = self._measure(rows, scores)
        with self._lock:
            if seconds is not None:
                self._times.append(float(seconds))
                self.calls += 1
                self.seconds += float(seconds)
            self.samples += len(rows)
            self._compare(rows, scores)
            self._add(found, len(rows))

    @property
    def agreement(self) -> float | None:
        """Share of the last 500 compared samples with the parent's class; None without."""
        return None if self._watch is None else self._watch.agreement

    @property
    def latency(self) -> dict[str, float] | None:
        """Median and 95 % quantile (nearest rank) of the last 4,096 calls, in seconds, or None."""
        ordered = sorted(self._times)
        if not ordered:
            return None
        return {f"p{round(100 * q)}": ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.95)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is known now as plain data.

        Returns
        -------
        dict
        """
        with self._lock:
            watch = self._watch
            kinds = Counter(alarm.kind for alarm in self.alarms)
            return {
                "samples": self.samples,
                "windows": self.windows,
                "window": self.window,
                "alpha": self.alpha,
                "non_finite": self.non_finite,
                "drift": [asdict(feature) for feature in self.drift],
                "agreement": None
                if watch is None
                else {
                    "recent": watch.agreement,
                    "calibration": watch.baseline,
                    "compared": watch.compared,
                },
                "latency_s": self.latency,
                "calls": self.calls,
                "seconds": self.seconds,
                "alarm_counts": {k: kinds[k] for k in ("drift", "agreement", "non-finite")},
                "alarms": [asdict(alarm) for alarm in self.alarms],
            }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text.

        Returns
        -------
        str
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_prometheus(self) -> str:
        """Return the figures in Prometheus' text format.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            If prometheus_client is not installed.
        """
        from .prometheus import exposition

        return exposition(self)

    def collector(self) -> Any:
        """Return a collector for a registry of prometheus_client, for its HTTP server.

        Returns
        -------
        object
            For ``prometheus_client.REGISTRY.register``.

        Raises
        ------
        ImportError
            If prometheus_client is not installed.
        """
        from .prometheus import collector

        return collector(self)

    def _calibrate(self, x: NDArray[Any]) -> tuple[Features, AgreementWatch | None]:
        parts, agreed = [], 0
        for start in range(0, len(x), _BATCH):
            rows = x[start : start + _BATCH]
            scores = _first(self._run(rows))
            found = self._measure(rows, scores)
            parts.append(found)
            if self._parent is not None:
                theirs = _first(self._parent(rows))
                if scores.ndim != 2 or theirs.shape != scores.shape:
                    raise ValueError(
                        "Monitor: parent must give rows of the same classes, got shapes "
                        f"{scores.shape} and {theirs.shape}"
                    )
                agreed += int((scores.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        reference = _joined(parts)
        if len(next(iter(reference.values()))) < 32:
            raise ValueError("Monitor: calibration must have at least 32 finite samples")
        watch = None if self._parent is None else AgreementWatch(agreed, len(x))
        return reference, watch

    def _measure(self, rows: NDArray[Any], scores: NDArray[Any]) -> Features:
        """Features of the samples that are finite in and out."""
        if len(scores) != len(rows):
            raise ValueError(
                f"Monitor: outputs must have a row per sample ({len(rows)}), got {len(scores)}"
            )
        good = _finite_rows(scores) & _finite_rows(rows)
        return {**self._features(rows[good]), **output_features(scores[good])}

    def _compare(self, rows: NDArray[Any], scores: NDArray[Any]) -> None:
        if self._parent is None or self._watch is None:
            return
        chosen = self._random.random(len(rows)) < self._share
        if chosen.any():
            theirs = _first(self._parent(rows[chosen]))
            self._watch.add(theirs.argmax(axis=1) == scores[chosen].argmax(axis=1))

    def _add(self, found: Features, rows: int) -> None:
        """Append to the window; judge it when it is full."""
        count = len(next(iter(found.values())))
        self.non_finite += rows - count
        if rows > count and not self._warned_non_finite:
            self._warned_non_finite = True
            self._raise("non-finite", (), f"{rows - count} samples or answers have NaN or infinity")
        while count:
            room = self.window - sum(len(part["_"]) for part in self._pending)
            part = {name: v[:room] for name, v in found.items()}
            part["_"] = np.zeros(min(room, count))
            self._pending.append(part)
            found = {name: v[room:] for name, v in found.items()}
            count = max(0, count - room)
            if room <= len(part["_"]):
                self._judge(_joined(self._pending))
                self._pending = []

    def _judge(self, window: Features) -> None:
        self.windows += 1
        self._warned_non_finite = False
        names = self._reference
        drift = [feature_drift(name, names[name], window[name]) for name in names]
        self.drift = tuple(sorted(drift, key=lambda feature: feature.p_value))
        moved = tuple(f for f in self.drift if f.p_value < self.alpha / len(drift))
        if moved:
            listed = ", ".join(f"{f.name} (KS {f.ks:.2f}, PSI {f.psi:.2f})" for f in moved[:3])
            more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
            self._raise("drift", moved, f"differs from calibration in {listed}{more}")
        watch = self._watch
        if watch is not None and watch.agreement is not None and watch.p_value < self.alpha:
            self._raise(
                "agreement",
                (),
                f"agrees with its parent on {100 * watch.agreement:.1f} % of samples, "
                f"{100 * watch.baseline:.1f} % in calibration",
            )

    def _raise(self, kind: str, features: tuple[FeatureDrift, ...], message: str) -> None:
        self.alarms.append(Alarm(kind, self.samples, features, message))


def _callable(model: Any) -> Callable[[Any], Any]:
    if hasattr(model, "nodes") or hasattr(model, "recipe"):
        return open_session(model)
    if not callable(model):
        raise TypeError(f"Monitor: model must be a network or callable, got {type(model).__name__}")
    return model  # type: ignore[no-any-return]


def _reference_rows(calibration: Any, random: np.random.Generator) -> NDArray[Any]:
    dataset = as_dataset(calibration)
    if len(dataset) < 32:
        raise ValueError(f"Monitor: calibration must have at least 32 samples, got {len(dataset)}")
    if len(dataset) > _REFERENCE:
        dataset = dataset.sample(_REFERENCE, seed=int(random.integers(1 << 30)))
    x = np.concatenate([x for x, _ in dataset.batches(_BATCH)])
    good = _finite_rows(x)
    if good.sum() < 32:
        raise ValueError(
            f"Monitor: calibration must have at least 32 finite samples, got {good.sum()}"
        )
    return x[good]


def _finite_rows(x: NDArray[Any]) -> NDArray[np.bool_]:
    if x.dtype.kind != "f":
        return np.ones(len(x), np.bool_)
    return np.asarray(np.isfinite(flat_rows(x)).all(axis=1))


def _first(outputs: Any) -> NDArray[Any]:
    return np.asarray(outputs[0] if isinstance(outputs, (tuple, list)) else outputs)


def _joined(parts: list[Features]) -> Features:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


__all__ = ["Alarm", "Monitor"]
