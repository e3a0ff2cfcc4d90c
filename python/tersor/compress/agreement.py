"""A warning where a compressed network no longer does what the float one does."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.threads import get_threads
from ..quantization import dequantize
from ..runtime import Session

_MOST_SAMPLES = 64
# Noise of 17 dB on ResNet-20's outputs costs one point of top-1 on training images.
LEAST_DB = 17.0
# Of which cpp/tersor/graph/useful_range.h knows where they stop to change.
_FLAT = {"clip", "hard_sigmoid", "hard_swish", "relu", "sigmoid", "silu", "tanh"}


def check_agreement(
    graph: Any,
    compressed: Any,
    batch: list[NDArray[Any]],
    *,
    equalized: Any = None,
    least_db: float = LEAST_DB,
) -> float:
    """Compare outputs on a few samples, and warn where the signal is lost.

    Parameters
    ----------
    graph, compressed : Graph
        The float network and the quantized one.
    batch : list of ndarray
        One array per input; the first 64 samples are used.
    equalized : Graph, optional
        The float network with the channels scaled as in the quantized one, to compare layers with.
    least_db : float, default 17
        Signal-to-noise ratio of the first output below which the warning comes.

    Returns
    -------
    float
        The ratio in decibels, infinite where the outputs are equal.

    Warns
    -----
    UserWarning
        Naming the three layers after which most of the signal is lost.
    """
    ratio = output_ratio_db(graph, compressed, batch)
    if ratio < least_db:
        inputs = [x[:_MOST_SAMPLES] for x in batch]
        layers = _steepest(equalized or graph, compressed, inputs)
        worst = ", ".join(f"{name} ({db:.1f} dB)" for name, db in layers)
        warnings.warn(
            "compress: the int8 network differs from the float one on the calibration samples "
            f"({ratio:.1f} dB signal to noise); most is lost at {worst}. Keep such layers in fp32 "
            "in the recipe, or give samples that are closer to real ones",
            stacklevel=3,
        )
    return ratio


def output_ratio_db(graph: Any, compressed: Any, batch: list[NDArray[Any]]) -> float:
    """Return the signal-to-noise ratio of the first output on the first 64 samples of a batch.

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


def _first(output: Any) -> NDArray[Any]:
    return np.asarray(output[0] if isinstance(output, tuple) else output)


def _steepest(graph: Any, compressed: Any, inputs: list[NDArray[Any]]) -> list[tuple[str, float]]:
    """Return the three layers with the largest fall of the ratio from input to output."""
    quantized = {e.name: e for e in compressed.edges if e.qparams is not None and not e.is_constant}
    hidden = _read_by_flat_functions(graph)
    names = [e.name for e in graph.edges if e.name in quantized and e.name not in hidden]
    wanted = Session(graph).taps(*inputs, edges=names)
    got = Session(compressed).taps(*inputs, edges=names)
    ratio = {
        name: signal_to_noise_db(wanted[name], dequantize(got[name], quantized[name].qparams))
        for name in names
    }
    edges, falls = graph.edges, []
    for node in graph.nodes:
        out = edges[node.outputs[0]].name
        known = [ratio[edges[i].name] for i in node.inputs if i >= 0 and edges[i].name in ratio]
        before = min(known, default=60.0)
        if out in hidden:
            ratio[out] = before
        elif out in ratio:
            falls.append((node.name, ratio[out], before - ratio[out]))
    falls.sort(key=lambda row: -row[2])
    return [(name, db) for name, db, _ in falls[:3]]


def _read_by_flat_functions(graph: Any) -> set[str]:
    """Edges whose codes leave out values that their readers cannot tell apart."""
    readers: dict[int, set[str]] = {}
    for node in graph.nodes:
        for i in node.inputs:
            readers.setdefault(i, set()).add(node.op)
    return {graph.edges[i].name for i, ops in readers.items() if i >= 0 and ops <= _FLAT}


__all__ = ["LEAST_DB", "check_agreement", "output_ratio_db", "signal_to_noise_db"]
