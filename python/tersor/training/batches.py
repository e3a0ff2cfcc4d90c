"""Batches of one process: drawn, augmented and prepared ahead of the step that uses them.

Which samples a step sees depends on (seed, epoch, step) alone, and together the processes and the
accumulated parts see what one process with one part sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.augment import Augment
from ..data.counter import keyed_permutation
from ..data.dataset import Dataset
from ..data.mixing import Mixing
from ..data.preprocess import Preprocess

# Names of random streams: one number each, so that none is a shifted copy of another.
_ORDER, _MIXING = 1, 2
_AHEAD = 2


@dataclass
class Batch:
    """What one forward pass takes.

    Attributes
    ----------
    inputs : torch.Tensor of float32, shape (n, ...)
        Images in channels-last memory.
    labels : torch.Tensor of int64, shape (n,)
    rows : ndarray of int, shape (n,)
        Which samples of the training set these are.
    version : int
        Which version of the augmented images, 0 without augmentation.
    weight : float
        Share of the images themselves where they were blended with others, else 1.
    partner_labels : torch.Tensor or None
        Labels of the others.
    extras : dict
        What callbacks add; tensors go to the device with the rest.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    rows: NDArray[np.intp]
    version: int = 0
    weight: float = 1.0
    partner_labels: torch.Tensor | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def mixed(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Return a loss of labels, weighted where images were blended.

        Parameters
        ----------
        loss : callable
            From labels to a scalar.

        Returns
        -------
        torch.Tensor
        """
        own = loss(self.labels)
        if self.partner_labels is None:
            return own
        return self.weight * own + (1 - self.weight) * loss(self.partner_labels)

    def dominant_labels(self) -> torch.Tensor:
        """Return the labels that count for accuracy: those of the larger share.

        Returns
        -------
        torch.Tensor
        """
        if self.partner_labels is None or self.weight >= 0.5:
            return self.labels
        return self.partner_labels

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        Batch
        """
        if device.type == "cpu":
            return self

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, torch.Tensor) else value

        return replace(
            self,
            inputs=moved(self.inputs),
            labels=moved(self.labels),
            partner_labels=moved(self.partner_labels),
            extras={name: moved(value) for name, value in self.extras.items()},
        )


class Inputs:
    """Samples of a data set as tensors that a network takes.

    Parameters
    ----------
    data : Dataset
        With labels.
    preprocess : Preprocess or None
        For bytes; other types pass as float32.
    operation, argument : str
        What messages call them.

    Raises
    ------
    ValueError
        If labels or the preprocessing of bytes are missing.
    """

    def __init__(
        self, data: Dataset, preprocess: Preprocess | None, *, operation: str, argument: str
    ) -> None:
        if data.y is None:
            raise ValueError(f"{operation}: {argument} must have labels, got none")
        self.is_bytes = data.dtype == np.uint8
        if self.is_bytes and preprocess is None:
            raise ValueError(
                f"{operation}: preprocess must be given for {argument} of uint8, got None"
            )
        self.x = data.x
        self.y = data.y
        self._to_first = False
        self._prepare = preprocess
        if self.is_bytes and preprocess is not None and preprocess.source_layout == "NHWC":
            # Computed with the channels last: as a tensor this is channels-last memory already.
            self._to_first = preprocess.layout == "NCHW"
            layout = "NHWC" if self._to_first else preprocess.layout
            self._prepare = Preprocess(**{**preprocess.to_dict(), "layout": layout})

    def prepare(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return samples as float32, a new array.

        Parameters
        ----------
        x : ndarray, shape (n, ...)

        Returns
        -------
        ndarray of float32
        """
        if self.is_bytes and self._prepare is not None:
            return self._prepare(x)
        return np.array(x, np.float32)

    def tensor(self, prepared: NDArray[np.float32]) -> torch.Tensor:
        """Return prepared samples as a tensor in the network's layout.

        Parameters
        ----------
        prepared : ndarray of float32

        Returns
        -------
        torch.Tensor
            Images in channels-last memory.
        """
        x = torch.from_numpy(prepared)
        if self._to_first and x.ndim == 4:
            return x.permute(0, 3, 1, 2)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

    def channels_last(self, prepared: NDArray[np.float32]) -> bool:
        """Return whether the channels of prepared images are the last axis.

        Parameters
        ----------
        prepared : ndarray of float32

        Returns
        -------
        bool
        """
        return self._to_first or (self._prepare is not None and self._prepare.layout != "NCHW")


class Batches:
    """Training batches of one process.

    Parameters
    ----------
    inputs : Inputs
    augment : Augment or None
    mixing : Mixing
    batch_size, accumulate : int
        Rows of a part, parts of a step.
    seed : int
    process, processes : int
        Which process this is, of how many.

    Raises
    ------
    ValueError
        If there are fewer samples than a step takes.
    """

    def __init__(
        self,
        inputs: Inputs,
        augment: Augment | None,
        mixing: Mixing,
        *,
        batch_size: int,
        accumulate: int,
        seed: int,
        process: int,
        processes: int,
    ) -> None:
        if augment is not None and not inputs.is_bytes:
            raise ValueError(f"fit: augment must be None for data of {inputs.x.dtype}")
        self.inputs = inputs
        self.augment = augment
        self.mixing = mixing
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.seed = seed
        self.process = process
        self.processes = processes
        self.step_size = batch_size * accumulate * processes
        self.steps_per_epoch = len(inputs.y) // self.step_size
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"fit: batch_size x accumulate x processes must be at most the {len(inputs.y)} "
                f"samples, got {batch_size} x {accumulate} x {processes}"
            )

    def epoch(
        self, epoch: int, start: int, added: Callable[[Batch], None]
    ) -> Iterator[list[Batch]]:
        """Iterate over the steps of an epoch; each is a list of parts.

        Parameters
        ----------
        epoch : int
        start : int
            First step.
        added : callable
            Called with each batch in the thread that prepares it.

        Yields
        ------
        list of Batch
        """
        order = keyed_permutation(len(self.inputs.y), self.seed, _ORDER, epoch)

        def make(step: int) -> list[Batch]:
            parts = [self._part(order, epoch, step, part) for part in range(self.accumulate)]
            for batch in parts:
                added(batch)
            return parts

        with ThreadPoolExecutor(1, thread_name_prefix="tersor-batches") as pool:
            waiting: deque[Future[list[Batch]]] = deque()
            try:
                for step in range(start, self.steps_per_epoch + _AHEAD):
                    if step < self.steps_per_epoch:
                        waiting.append(pool.submit(make, step))
                    if step >= start + _AHEAD and waiting:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _part(self, order: NDArray[np.intp], epoch: int, step: int, part: int) -> Batch:
        place = (step * self.accumulate + part) * self.processes + self.process
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        x = self.inputs.x[rows]
        version = 0
        if self.augment is not None:
            version = self.augment.version(epoch)
            x = self.augment(x, rows=rows, seed=self.seed, epoch=epoch)
        prepared = self.inputs.prepare(x)
        y = self.inputs.y[rows]
        batch = Batch(torch.empty(0), torch.from_numpy(y), rows, version)
        if self.mixing:
            mixture = self.mixing(
                prepared,
                key=(self.seed, _MIXING, epoch, place),
                channels_last=self.inputs.channels_last(prepared),
            )
            batch.weight = mixture.weight
            batch.partner_labels = torch.from_numpy(y[mixture.partner])
        batch.inputs = self.inputs.tensor(prepared)
        return batch


__all__ = ["Batch", "Batches", "Inputs"]
