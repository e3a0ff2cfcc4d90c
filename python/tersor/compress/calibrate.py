"""Which values flow through a network. Native half: ``cpp/tersor/runtime/calibrate.h``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.threads import get_threads
from ..data.calibration import calibration_batches
from ..data.error import DataError
from ..data.preprocess import Preprocess

Progress = Callable[[str, int, "int | None"], None]

# Calibrator::kChunk: sums are added chunk by chunk, so batches of whole chunks give the same sums
# however many there are.
_CHUNK = 32
# Samples that are kept, to compare networks on: enough to tell a loss of a few percent of top-1.
_HEAD = 128


def network_batches(
    graph: Any,
    data: Any,
    preprocess: Preprocess | None,
    *,
    limit: int | None,
    seed: int = 0,
    batch_size: int = 64,
) -> Iterator[list[NDArray[Any]]]:
    """Iterate over checked batches, one array per input of the network.

    Parameters
    ----------
    graph : Graph
        The network; its inputs give shapes and dtypes.
    data : array, path, mapping or tuple of arrays, or iterable of batches
        See :func:`tersor.data.calibration_batches`.
    preprocess : Preprocess, optional
        For bytes (uint8), which are raw samples; floats are taken as prepared.
    limit : int or None
        Most samples taken.
    seed : int
        Draws them.
    batch_size : int
        Rows of the batches made of one array.

    Yields
    ------
    list of ndarray

    Raises
    ------
    DataError
        If there is no sample, a value is not finite, or a shape does not fit.
    """
    inputs = [graph.edges[i] for i in graph.input_ids]
    shape = inputs[0].shape if len(inputs) == 1 else None
    for batch in calibration_batches(
        data,
        None if preprocess is None else _raw_only(preprocess),  # type: ignore[arg-type]
        limit=limit,
        batch_size=batch_size,
        shape=shape,
        names=[edge.name for edge in inputs],
        seed=seed,
    ):
        arrays = [batch] if not isinstance(batch, dict) else _by_name(batch, inputs)
        if len(arrays) != len(inputs):
            names = ", ".join(edge.name for edge in inputs)
            raise DataError(
                f"calibration: the network has the inputs {names}: give a mapping from their names "
                f"to arrays, or a tuple of arrays in that order"
            )
        yield [
            np.asarray(array, dtype=edge.dtype) for array, edge in zip(arrays, inputs, strict=True)
        ]


class Variety:
    """Whether samples show anything: a rule for all that learns from them."""

    def __init__(self) -> None:
        self._first: list[NDArray[Any]] = []
        self._samples, self._differ, self._varies = 0, False, False

    def see(self, batch: list[NDArray[Any]]) -> None:
        """Take in a batch, one array per input."""
        if not all(x.ndim and len(x) for x in batch):
            return
        self._first = self._first or [x[:1].copy() for x in batch]
        self._samples += len(batch[0])
        self._varies = self._varies or any(x.size and np.min(x) != np.max(x) for x in batch)
        self._differ = self._differ or any(
            bool((x != one).any()) for x, one in zip(batch, self._first, strict=True)
        )

    def check(self) -> None:
        """Refuse samples that are all alike.

        Raises
        ------
        DataError
            If all values are equal, or several samples are the same.
        """
        if not self._varies and any(x.size > 1 for x in self._first):
            raise DataError(
                "calibration: samples must vary, got the same value everywhere: use real inputs"
            )
        if not self._differ and self._samples > 1:
            raise DataError(
                f"calibration: samples must vary, got the same one {self._samples} times: "
                "use real inputs"
            )


@dataclass(frozen=True)
class Calibration:
    """What calibration saw.

    Attributes
    ----------
    placement : Placement
        Of the quantizers.
    observed : Calibrator
        Histograms of edges and mean inputs of layers.
    first_batch : list of ndarray
        One array per input of the network; at most 128 rows, however many threads there are.
    """

    placement: Any
    observed: Any
    first_batch: list[NDArray[Any]]

    @property
    def samples(self) -> int:
        """Number of samples seen."""
        return int(self.observed.samples)


def calibrate(
    graph: Any,
    placement: Any,
    data: Any,
    *,
    preprocess: Preprocess | None = None,
    samples: int | None = None,
    seed: int = 0,
    time_budget: float | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Run a float network over samples and observe what quantization needs to know.

    Parameters
    ----------
    graph : Graph
        The float network.
    placement : Placement
        Of its quantizers, from ``place_quantizers``.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples.
    preprocess : Preprocess, optional
        For raw samples (uint8).
    samples : int, optional
        Most samples taken; all by default.
    seed : int, default 0
        Draws them.
    time_budget : float, optional
        Seconds after which no further batch is taken; the first one always is.
    progress : callable, optional
        Called as ``progress("calibrate", samples done, None)`` after each batch.

    Returns
    -------
    Calibration
        The same for every number of threads.

    Raises
    ------
    DataError
        If there is no sample, a value is not finite, all are equal, or a shape does not fit.
    """
    edges = _core.graph.calibration_edges(graph, placement)
    layers = _core.graph.layer_inputs(graph, placement)
    calibrator = _core.runtime.Calibrator(graph, edges, layers, get_threads())
    end = None if time_budget is None else time.monotonic() + time_budget
    first: list[NDArray[Any]] = []
    variety = Variety()
    for batch in network_batches(
        graph, data, preprocess, limit=samples, seed=seed, batch_size=_CHUNK * get_threads()
    ):
        first = _head(graph, first, batch)
        variety.see(batch)
        if edges or layers:  # a network without a layer to quantize has nothing to observe
            calibrator.observe(batch)
        if progress is not None:
            progress("calibrate", int(calibrator.samples), None)
        if end is not None and time.monotonic() >= end:
            break
    variety.check()
    return Calibration(placement, calibrator, first)


def _head(graph: Any, first: list[NDArray[Any]], batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
    # Batches grow with the threads; what is found on the first rows must not.
    edges = [graph.edges[i] for i in graph.input_ids]
    if any(not edge.shape or edge.shape[0] is not None for edge in edges):
        return first or batch
    if not first:
        return [x[:_HEAD] for x in batch]
    if len(first[0]) >= _HEAD:
        return first
    return [np.concatenate([a, b])[:_HEAD] for a, b in zip(first, batch, strict=True)]


def _raw_only(preprocess: Preprocess) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    def prepare(x: NDArray[Any]) -> NDArray[np.float32]:
        return preprocess(x) if x.dtype == np.uint8 else x.astype(np.float32)

    return prepare


def _by_name(batch: dict[str, NDArray[Any]], inputs: list[Any]) -> list[NDArray[Any]]:
    missing = [edge.name for edge in inputs if edge.name not in batch]
    if missing or len(batch) != len(inputs):
        names = ", ".join(edge.name for edge in inputs)
        raise DataError(
            f"calibration: batches must have the inputs {names}, got {', '.join(batch)}"
        )
    return [batch[edge.name] for edge in inputs]


__all__ = ["Calibration", "Progress", "Variety", "calibrate", "network_batches"]
