"""A score of a network on the user's data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.threads import get_threads
from ..data.dataset import Dataset
from ..data.load import as_dataset
from ..data.preprocess import Preprocess
from ..report.evaluate import accuracy, prepare_dataset, run_batches
from ..runtime import Session


def accuracy_of(
    model: Any,
    evaluate: Dataset | tuple[Any, Any] | Callable[[Any], float],
    preprocess: Preprocess | None = None,
) -> float:
    """Score a network.

    Parameters
    ----------
    model : Graph or CompressedModel
    evaluate : (x, y), Dataset or callable
        Samples and labels for top-1 accuracy, or a function of a session.
    preprocess : Preprocess, optional
        For raw samples (uint8).

    Returns
    -------
    float
        Top-1 accuracy in [0, 1], or what the function returns.

    Raises
    ------
    DataError
        If samples and labels do not fit each other or the network.
    """
    session = Session(model, get_threads(), precision=getattr(model, "precision", "fp32"))
    if callable(evaluate):
        figure = evaluate(session)
        if not isinstance(figure, (int, float, np.number)) or not np.isfinite(figure):
            raise ValueError(f"compress: evaluate must return a finite number, got {figure!r}")
        return float(figure)
    data = as_dataset(evaluate)
    if data.y is None:
        raise ValueError("compress: evaluate must have labels: give (x, y)")
    batches = prepare_dataset(data, model, preprocess)
    return accuracy(run_batches(session, batches()), data.y)


__all__ = ["accuracy_of"]
