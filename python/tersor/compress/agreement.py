"""A warning where a compressed network no longer does what the float one does."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..base.threads import get_threads
from ..quantization import dequantize
from ..runtime import Session

# Samples whose outputs are compared, and those that all layers are compared on.
_MOST_SAMPLES = 128
_LAYER_SAMPLES = 32
# Noise of 17 dB on ResNet-20's outputs costs one point of top-1 on training images: the bound for
# networks whose outputs are no classes.
LEAST_DB = 17.0
# Points of top-1 from which on the warning comes.
MOST_LOSS = 1.0
# Margins between classes count as known to this share of the noise between two classes, so that a
# few samples tell losses below one flip in their number.
_BLUR = 0.2
# Of which cpp/tersor/graph/useful_range.h knows where they stop to change.
_FLAT = {"clip", "hard_sigmoid", "hard_swish", "relu", "sigmoid", "silu", "tanh"}


@dataclass(frozen=True)
class Agreement:
    """How far a compressed network is from the float one, on a few samples.

    Attributes
    ----------
    ratio_db : float
        Signal-to-noise ratio of the first output, infinite where the outputs are equal.
    expected_loss : float or None
        Points of top-1 accuracy that the difference is expected to cost; None where the output is
        no row of classes.
    layers : list of (str, float)
        Up to three layers that add most noise, with the signal-to-noise ratio behind them.
    """

    ratio_db: float
    expected_loss: float | None
    layers: list[tuple[str, float]]

    def describe(self) -> str:
        """Return the layers and their ratios in a few words."""
        return ", ".join(f"{name} ({db:.1f} dB)" for name, db in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "sqnr_db": self.ratio_db,
            "expected_loss": self.expected_loss,
            "worst_layers": {name: round(db, 2) for name, db in self.layers},
            "measured_on": "samples",
        }


def check_agreement(
    graph: Any,
    compressed: Any,
    batch: list[NDArray[Any]],
    *,
    equalized: Any = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    advice: str = "keep such layers in fp32 in the recipe, or give samples closer to real ones",
    least_db: float = LEAST_DB,
    most_loss: float = MOST_LOSS,
) -> Agreement:
    """Compare outputs on a few samples, and warn where too much of the signal is lost.

    Parameters
    ----------
    graph, compressed : Graph
        The float network and the quantized one.
    batch : list of ndarray
        One array per input; the first 128 samples are used.
    equalized : Graph, optional
        The float network with the channels scaled as in the quantized one, to compare layers with.
    precision : {"fp32", "bf16"}
        What the float layers of the compressed network compute in.
    advice : str, optional
        What would help, for the warning.
    least_db : float, default 17
        Signal-to-noise ratio of the first output below which the warning comes; 5 dB less where the
        output is a row of numbers, which may be classes.
    most_loss : float, default 1
        Expected loss of top-1, in points, above which it comes.

    Returns
    -------
    Agreement

    Warns
    -----
    UserWarning
        Naming the expected loss and the three layers that add most noise.
    """
    inputs = [x[:_MOST_SAMPLES] for x in batch]
    wanted = _first(Session(graph, get_threads())(*inputs))
    got = _first(Session(compressed, get_threads(), precision=precision)(*inputs))
    found = Agreement(
        signal_to_noise_db(wanted, got),
        expected_loss(wanted, got),
        _steepest(equalized or graph, compressed, [x[:_LAYER_SAMPLES] for x in batch], precision),
    )
    loss = found.expected_loss
    # A row of numbers need not be classes, so much noise counts there too.
    bound = least_db if loss is None else least_db - 5
    if found.ratio_db < bound or (loss or 0.0) > most_loss:
        cost = "" if loss is None else f"; about {loss:.1f} points of top-1 accuracy are lost"
        warnings.warn(
            "compress: the quantized network differs from the float one on the calibration samples "
            f"({found.ratio_db:.1f} dB signal to noise){cost}; most is lost at {found.describe()}: "
            f"{advice}",
            stacklevel=3,
        )
    return found


def expected_loss(wanted: NDArray[Any], got: NDArray[Any]) -> float | None:
    """Return the points of top-1 accuracy that a change of the outputs is expected to cost.

    Without labels the float network's probabilities stand for the truth: a sample whose class
    changes from a to b costs p(a) - p(b). Margins are blurred by a fifth of the noise, which
    makes the estimate steady on few samples.

    Parameters
    ----------
    wanted, got : ndarray, shape (samples, classes)
        Outputs of the float network, logits or probabilities, and of the compressed one.

    Returns
    -------
    float or None
        None for outputs that are no rows of classes, or of no samples.

    Examples
    --------
    >>> import numpy as np
    >>> sure = np.array([[9.0, 0.0], [0.0, 9.0]])
    >>> round(expected_loss(sure, sure[::-1]), -1)
    100.0
    """
    if wanted.ndim != 2 or wanted.shape[1] < 2 or len(wanted) == 0:
        return None
    before, after = log_probabilities(wanted), log_probabilities(got, like=wanted)
    rows, top = np.arange(len(before)), before.argmax(axis=1)
    others = np.ones(before.shape, bool)
    others[rows, top] = False
    noise = (after - before) - (after - before)[rows, top][:, None]
    blur = _BLUR * math.sqrt(float(np.square(noise[others]).mean()))
    if blur == 0:
        return 0.0
    margin = after[rows, top][:, None] - after
    flips = np.where(others, _normal_cdf(-margin / blur), 0.0)
    share = np.exp(before)
    cost = (flips * (share[rows, top][:, None] - share)).sum(axis=1)
    return float(100 * (cost / np.maximum(1.0, flips.sum(axis=1))).mean())


def output_ratio_db(graph: Any, compressed: Any, batch: list[NDArray[Any]]) -> float:
    """Return the signal-to-noise ratio of the first output on the first 128 samples of a batch.

    Parameters
    ----------
    graph, compressed : Graph
        The float network and the quantized one.
    batch : list of ndarray
        One array per input.

    Returns
    -------
    float
        Decibels, infinite where the outputs are equal.
    """
    inputs = [x[:_MOST_SAMPLES] for x in batch]
    wanted = _first(Session(graph, get_threads())(*inputs))
    return signal_to_noise_db(wanted, _first(Session(compressed, get_threads())(*inputs)))


def signal_to_noise_db(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Return 10 log10(signal power / error power); infinite where both are equal.

    Parameters
    ----------
    wanted, got : ndarray of one shape

    Returns
    -------
    float

    Examples
    --------
    >>> signal_to_noise_db(np.array([10.0]), np.array([9.0]))
    20.0
    """
    reference = np.asarray(wanted, np.float64)
    error = float(np.square(reference - np.asarray(got, np.float64)).sum())
    if error == 0:
        return float("inf")
    return float(10 * np.log10(max(float(np.square(reference).sum()), 1e-300) / error))


def kl_divergence(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Return the mean divergence of rows of logits or probabilities, in nats.

    Parameters
    ----------
    wanted, got : ndarray, shape (rows, classes)
        Softmax is taken unless the rows of `wanted` are probabilities.

    Returns
    -------
    float
        0 for arrays of other ranks.
    """
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        return 0.0
    p, q = log_probabilities(wanted), log_probabilities(got, like=wanted)
    return float(max(0.0, (np.exp(p) * (p - q)).sum(axis=1).mean()))


def log_probabilities(x: NDArray[Any], like: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return logarithms of the probabilities that a network's rows of outputs stand for.

    Parameters
    ----------
    x : ndarray, shape (rows, classes)
        Logits or probabilities.
    like : ndarray, optional
        Tells which, instead of `x`.

    Returns
    -------
    ndarray of float64
    """
    told = np.asarray(x if like is None else like, np.float64)
    values = np.asarray(x, np.float64)
    if (told >= 0).all() and np.allclose(told.sum(axis=1), 1, atol=1e-2):
        values = np.log(np.maximum(values, 1e-12))
    values = values - values.max(axis=1, keepdims=True)
    normal: NDArray[np.float64] = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return normal


def _normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2)))


def _first(output: Any) -> NDArray[Any]:
    return np.asarray(output[0] if isinstance(output, tuple) else output)


def _steepest(
    graph: Any, compressed: Any, inputs: list[NDArray[Any]], precision: Literal["fp32", "bf16"]
) -> list[tuple[str, float]]:
    """Return the three layers that add most noise, as a share of their output's power."""
    theirs = {e.name: e for e in compressed.edges if not e.is_constant}
    hidden = _read_by_flat_functions(graph) if _has_codes(theirs.values()) else set()
    names = [
        e.name
        for e in graph.edges
        if not e.is_constant and e.name in theirs and e.name not in hidden
    ]
    wanted = Session(graph).taps(*inputs, edges=names)
    got = Session(compressed, precision=precision).taps(*inputs, edges=names)
    ratio = {}
    for name in names:
        q = theirs[name].qparams
        values = got[name] if q is None else dequantize(got[name], q)
        ratio[name] = signal_to_noise_db(wanted[name], values)
    edges, falls, slight = graph.edges, [], []
    for node in graph.nodes:
        out = edges[node.outputs[0]].name
        # 60 dB: what the best codes of 8 bits reach, so that noise beyond counts as none.
        known = [
            min(60.0, ratio[edges[i].name])
            for i in node.inputs
            if i >= 0 and edges[i].name in ratio
        ]
        before = min(known, default=60.0)
        if out in hidden:
            ratio[out] = before
        elif out in ratio and ratio[out] < before:
            falls.append((node.name, ratio[out], before - ratio[out]))
        elif out in ratio and np.isfinite(ratio[out]):
            slight.append((node.name, ratio[out]))
    falls.sort(key=lambda row: -row[2])
    if not falls:  # as beside outputs that hardly vary, where a little noise may turn classes
        return sorted(slight, key=lambda row: row[1])[:3]
    return [(name, db) for name, db, _ in falls[:3]]


def _noise(ratio_db: float) -> float:
    return float(10 ** (-ratio_db / 10))


def _has_codes(edges: Any) -> bool:
    return any(e.qparams is not None for e in edges)


def _read_by_flat_functions(graph: Any) -> set[str]:
    """Edges whose codes leave out values that their readers cannot tell apart."""
    readers: dict[int, set[str]] = {}
    for node in graph.nodes:
        for i in node.inputs:
            readers.setdefault(i, set()).add(node.op)
    return {graph.edges[i].name for i, ops in readers.items() if i >= 0 and ops <= _FLAT}


__all__ = [
    "LEAST_DB",
    "MOST_LOSS",
    "Agreement",
    "check_agreement",
    "expected_loss",
    "kl_divergence",
    "log_probabilities",
    "output_ratio_db",
    "signal_to_noise_db",
]
