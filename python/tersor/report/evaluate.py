"""Quality of a network on data: outputs, top-1 accuracy, agreement with a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.calibration import calibration_batches
from ..data.dataset import Dataset
from ..data.error import DataError
from ..data.preprocess import Preprocess
from .model import graph_of, model_preprocess

# Larger than any micro-batch, small enough that images and activations stay in a few MB.
_BATCH = 256


def prepare_dataset(
    data: Dataset, model: Any, preprocess: Preprocess | None = None
) -> Callable[[], Any]:
    """Return a function that iterates over checked float32 batches of a data set.

    Bytes (uint8) are raw samples and go through `preprocess`, or through what the model carries;
    floats are what the network takes.

    Parameters
    ----------
    data : Dataset
    model : Graph or CompressedModel
    preprocess : Preprocess, optional

    Returns
    -------
    callable
        Each call returns a new iterator.
    """
    raw = data.dtype == np.uint8
    chosen = (preprocess or model_preprocess(model)) if raw else None
    graph = graph_of(model)
    shape = graph.edges[graph.input_ids[0]].shape
    return lambda: calibration_batches(
        data, chosen, batch_size=_BATCH, shape=shape, what=f"evaluation ({data.name})"
    )


def run_batches(session: Callable[[Any], Any], batches: Any) -> NDArray[np.float32]:
    """Run a session over batches and join its first output.

    Parameters
    ----------
    session : callable
        Takes an array, returns an array or a tuple of them.
    batches : iterable of ndarray

    Returns
    -------
    ndarray of float32, shape (n, ...)
    """
    outputs = []
    for batch in batches:
        result = session(batch)
        first = result[0] if isinstance(result, (tuple, list)) else result
        outputs.append(np.asarray(first, np.float32))
    return np.concatenate(outputs)


def top1(outputs: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the class of each row: the first largest of its scores.

    Parameters
    ----------
    outputs : ndarray of float32, shape (n, classes)

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    DataError
        If the outputs are no rows of scores.
    """
    if outputs.ndim != 2:
        raise DataError(f"top-1 needs outputs of shape (n, classes), got {outputs.shape}")
    return np.asarray(outputs.argmax(axis=1))


def accuracy(outputs: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the share of rows whose top-1 class is the label, in [0, 1].

    Parameters
    ----------
    outputs : ndarray of float32, shape (n, classes)
    y : ndarray of int64, shape (n,)

    Returns
    -------
    float

    Raises
    ------
    DataError
        If the outputs are no rows of scores, or a label is not one of the classes.

    Examples
    --------
    >>> accuracy(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0]))
    0.75
    """
    best = top1(outputs)
    if int(y.max()) >= outputs.shape[1]:
        raise DataError(f"labels must be below the {outputs.shape[1]} classes, got {y.max()}")
    return float((best == y).mean())


def signal_to_noise_db(outputs: NDArray[np.float32], baseline: NDArray[np.float32]) -> float:
    """Return 10 log10(sum of baseline^2 / sum of (outputs - baseline)^2), infinite where equal.

    Parameters
    ----------
    outputs, baseline : ndarray of float32, of one shape

    Returns
    -------
    float
        Decibels.

    Examples
    --------
    >>> round(signal_to_noise_db(np.float32([1.1]), np.float32([1.0])), 1)
    20.0
    """
    signal = float(np.square(baseline, dtype=np.float64).sum())
    noise = float(np.square(outputs.astype(np.float64) - baseline).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


__all__ = [
    "accuracy",
    "prepare_dataset",
    "run_batches",
    "signal_to_noise_db",
    "top1",
]
