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


def check_evaluate(evaluate: Any) -> Dataset | Callable[[Any], float]:
    """Refuse what cannot give a score, before anything long begins.

    Parameters
    ----------
    evaluate : (x, y), Dataset, path or callable

    Returns
    -------
    Dataset or callable

    Raises
    ------
    DataError
        If samples and labels do not fit each other.
    ValueError
        If there are no labels.
    """
    if callable(evaluate):
        return evaluate  # type: ignore[no-any-return]
    data = as_dataset(evaluate)
    if data.y is None:
        raise ValueError("compress: evaluate must have labels: give (x, y)")
    return data


def accuracy_of(
    model: Any,
    evaluate: Dataset | Callable[[Any], float],
    preprocess: Preprocess | None = None,
) -> float:
    """Score a network.

    Parameters
    ----------
    model : Graph or CompressedModel
    evaluate : Dataset or callable
        From `check_evaluate`: labeled samples for top-1 accuracy, or a function of a session.
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
    batches = prepare_dataset(evaluate, model, preprocess)
    assert evaluate.y is not None
    return accuracy(run_batches(session, batches()), evaluate.y)


__all__ = ["accuracy_of", "check_evaluate"]
