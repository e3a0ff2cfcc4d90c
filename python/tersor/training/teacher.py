"""What a teacher says about a batch: computed, or kept from an earlier epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.session import Session
from .batches import Batch
from .options import Options
from .precision import Precision

# Beyond this, logits are kept only where the user asks for it.
_CACHE_BYTES = 1 << 30


class Teacher:
    """A network that gives logits.

    Parameters
    ----------
    model : torch.nn.Module, Session, Graph or CompressedModel
        A graph or compressed model runs in a session of its own, with one thread.

    Attributes
    ----------
    in_background : bool
        Whether it runs in the thread that prepares batches: sessions do, beside the student.
    """

    def __init__(self, model: Any) -> None:
        self.in_background = not isinstance(model, nn.Module)
        self._model = model
        if self.in_background and not isinstance(model, Session):
            self._model = Session(model)

    def begin(self, device: torch.device) -> None:
        """Move a module to the student's device, in evaluation mode.

        Parameters
        ----------
        device : torch.device
        """
        if isinstance(self._model, nn.Module):
            self._model.eval()
            self._model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(self, inputs: torch.Tensor, precision: Precision | None = None) -> torch.Tensor:
        """Return logits without a gradient.

        Parameters
        ----------
        inputs : torch.Tensor, shape (n, ...)
        precision : Precision, optional
            For modules.

        Returns
        -------
        torch.Tensor of float32, shape (n, classes)

        Raises
        ------
        ValueError
            If the teacher returns something else.
        """
        if isinstance(self._model, nn.Module):
            with torch.no_grad():
                if precision is None:
                    logits = self._model(inputs)
                else:
                    with precision.autocast():
                        logits = self._model(inputs)
        else:
            logits = torch.from_numpy(np.asarray(self._model(inputs.numpy())))
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
            shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits)
            raise ValueError(
                f"distill: outputs of the teacher must be logits of shape ({len(inputs)}, "
                f"classes), got {shape}"
            )
        return logits.float()


class LogitCache:
    """Logits of a teacher by version and row; NaN where they are not known yet.

    Parameters
    ----------
    where : True, str or Path
        In memory, or a .npy file that later runs use again.
    options : Options
        Of the run: what was augmented how decides what may be reused.
    samples : int
    """

    def __init__(self, where: bool | str | Path, options: Options, samples: int) -> None:
        self._where = where
        self._samples = samples
        self._versions = versions_of(options)
        augment = options.augment
        self._key = {
            "samples": samples,
            "versions": self._versions,
            "augment": None if augment is None else repr(augment),
            "seed": None if augment is None else options.seed,
            "preprocess": None if options.preprocess is None else options.preprocess.to_dict(),
        }
        self._values: NDArray[np.float32] | None = None

    def get(self, batch: Batch) -> torch.Tensor | None:
        """Return the logits of a batch if all of them are known.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        torch.Tensor of float32, shape (n, classes), or None
        """
        if self._values is None and not self._open():
            return None
        assert self._values is not None
        rows = self._values[batch.version, batch.rows]
        return None if np.isnan(rows).any() else torch.from_numpy(rows)

    def put(self, batch: Batch, logits: torch.Tensor) -> None:
        """Keep the logits of a batch.

        Parameters
        ----------
        batch : Batch
        logits : torch.Tensor of float32, shape (n, classes)
        """
        values = logits.detach().cpu().numpy()
        if self._values is None:
            self._create((self._versions, self._samples, values.shape[1]))
        assert self._values is not None
        self._values[batch.version, batch.rows] = values

    def _open(self) -> bool:
        """Map a file of an earlier run, if there is one and it fits."""
        if isinstance(self._where, bool) or not Path(self._where).exists():
            return False
        path = Path(self._where)
        key = path.with_suffix(".json")
        saved = json.loads(key.read_text()) if key.exists() else None
        if saved != json.loads(json.dumps(self._key)):
            raise ValueError(
                f"distill: cache_teacher must be a file of the same data, augmentation and seed, "
                f"got {path} of {saved}"
            )
        self._values = np.load(path, mmap_mode="r+", allow_pickle=False)
        return True

    def _create(self, shape: tuple[int, int, int]) -> None:
        if isinstance(self._where, bool):
            self._values = np.full(shape, np.nan, np.float32)
            return
        path = Path(self._where)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(self._key))
        self._values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        self._values[...] = np.nan


def versions_of(options: Options) -> int:
    """Return how many versions of the images a run shows; 0 where they never repeat.

    Parameters
    ----------
    options : Options

    Returns
    -------
    int
    """
    if options.mixing:
        return 0
    if options.augment is None:
        return 1
    return options.augment.variants or 0


def choose_cache(
    wanted: bool | str | Path | None, options: Options, samples: int, classes: int = 1000
) -> LogitCache | None:
    """Return a cache where logits repeat.

    Parameters
    ----------
    wanted : bool, str, Path or None
        None keeps them where they repeat and take little memory.
    options : Options
    samples : int
    classes : int
        Assumed for the decision.

    Returns
    -------
    LogitCache or None

    Raises
    ------
    ValueError
        If a cache is wanted and the images never repeat.
    """
    versions = versions_of(options)
    if wanted is None:
        fits = 0 < versions < options.epochs and versions * samples * classes * 4 < _CACHE_BYTES
        return LogitCache(True, options, samples) if fits else None
    if wanted is False:
        return None
    if versions == 0:
        raise ValueError(
            "distill: cache_teacher must be False where images never repeat (mixup, cutmix, or "
            f"augment without variants), got {wanted!r}"
        )
    return LogitCache(wanted, options, samples)


__all__ = ["LogitCache", "Teacher", "choose_cache", "versions_of"]
