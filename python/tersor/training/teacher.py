"""What a teacher says about a batch: computed, or kept from an earlier epoch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.session import Session
from .batches import Batch
from .identity import identity_of_model
from .memory_format import channels_last, contiguous
from .options import Options
from .precision import Precision
from .state import TrainingState

# Beyond this, logits are kept only where the user asks for it: they are in every checkpoint.
_CACHE_BYTES = 64 << 20
_UNKNOWN = -np.inf  # of logits that are exchanged between processes


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
            self._model.to(device)
            channels_last(self._model)

    def end(self) -> None:
        """Put a module's weights back into their usual order in memory."""
        if isinstance(self._model, nn.Module):
            contiguous(self._model)

    def identity(self) -> str:
        """Return a name of structure and weights."""
        return identity_of_model(self._model)

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
    where : bool, str or Path
        In memory, or a .npy file that later runs use again; what it is for stands in a file beside
        it, ``<name>.json``.
    options : Options
        Of the run: what was augmented how decides what may be reused.
    samples : int
    data, teacher : str
        Identities of what the logits come from.
    limit : int, optional
        Bytes beyond which nothing is kept.
    """

    def __init__(
        self,
        where: bool | str | Path,
        options: Options,
        samples: int,
        *,
        data: str,
        teacher: str,
        limit: int | None = None,
    ) -> None:
        self._path = None if isinstance(where, bool) else Path(where)
        self._samples = samples
        self._versions = versions_of(options)
        self._limit = limit
        augment = options.augment
        self._key = {
            "samples": samples,
            "versions": self._versions,
            "augment": None if augment is None else repr(augment),
            "seed": None if augment is None else options.seed,
            "preprocess": None if options.preprocess is None else options.preprocess.to_dict(),
            "precision": options.precision,
            "data": data,
            "teacher": teacher,
        }
        self._values: NDArray[np.float32] | None = None
        self._exchanged: NDArray[np.float32] | None = None
        self._off = False
        # Batches are prepared in another thread than the one that writes checkpoints.
        self._lock = threading.Lock()
        if self._path is not None and self._path.exists():
            self._values = self._open(self._path)

    def get(self, batch: Batch) -> torch.Tensor | None:
        """Return the logits of a batch if all of them are known.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        torch.Tensor of float32, shape (n, classes), or None
        """
        with self._lock:
            self._take_exchanged()
            if self._values is None:
                return None
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
        with self._lock:
            if self._values is None and not self._off:
                self._create((self._versions, self._samples, values.shape[1]))
            if self._values is not None and self._values.shape[2] == values.shape[1]:
                self._values[batch.version, batch.rows] = values

    def exchanged(self) -> torch.Tensor | None:
        """Return a copy for the processes to take the maximum of, which is then taken over.

        Returns
        -------
        torch.Tensor of float32, or None
            None where logits are in a file, which all processes share, or nothing is known yet.
        """
        with self._lock:
            self._take_exchanged()
            if self._values is None or self._path is not None:
                return None
            self._exchanged = np.where(np.isnan(self._values), np.float32(_UNKNOWN), self._values)
            return torch.from_numpy(self._exchanged)

    def state_dict(self) -> dict[str, Any]:
        """Return what is in memory only.

        Returns
        -------
        dict
        """
        with self._lock:
            self._take_exchanged()
            if self._values is None or self._path is not None:
                return {}
            return {"logits": torch.from_numpy(self._values.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Parameters
        ----------
        state : dict
        """
        if "logits" in state and self._path is None:
            self._values = state["logits"].numpy().copy()

    def _take_exchanged(self) -> None:
        """Fill in what other processes knew."""
        if self._exchanged is None or self._values is None:
            return
        news = np.isnan(self._values).any(-1) & (self._exchanged != _UNKNOWN).all(-1)
        self._values[news] = self._exchanged[news]
        self._exchanged = None

    def _open(self, path: Path) -> NDArray[np.float32]:
        """Map a file of an earlier run, if it fits."""
        key = path.with_name(f"{path.name}.json")
        try:
            saved = json.loads(key.read_text())
        except (OSError, ValueError):
            saved = None
        wanted = json.loads(json.dumps(self._key))
        if not isinstance(saved, dict) or saved != wanted:
            other = "nothing known"
            if isinstance(saved, dict):
                other = ", ".join(k for k in wanted if saved.get(k) != wanted[k]) or "more"
            raise ValueError(
                "distill: cache_teacher must be a file of the same teacher, data, augmentation and "
                f"seed, or not exist, got {path} of another run ({other} differs)"
            )
        try:
            values: NDArray[np.float32] = np.load(path, mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise ValueError(
                f"distill: cache_teacher must be a .npy file, got {path}, which is damaged"
            ) from None
        fits = values.ndim == 3 and values.shape[:2] == (self._versions, self._samples)
        if not fits or values.dtype != np.float32:
            raise ValueError(
                f"distill: cache_teacher must hold float32 of shape ({self._versions}, "
                f"{self._samples}, classes), got {values.dtype} of {values.shape} in {path}"
            )
        return values

    def _create(self, shape: tuple[int, int, int]) -> None:
        if self._limit is not None and 4 * int(np.prod(shape)) > self._limit:
            self._off = True
        elif self._path is None:
            self._values = np.full(shape, np.nan, np.float32)
        else:
            self._values = self._create_file(self._path, shape)

    def _create_file(self, path: Path, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """Make the file whole or not at all; of several processes the first one's is used."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        key, key_part = path.with_name(f"{path.name}.json"), part.with_suffix(".json.part")
        try:
            key_part.write_text(json.dumps(self._key))
            key_part.replace(key)
            empty = np.lib.format.open_memmap(part, "w+", np.float32, shape)
            empty[...] = np.nan
            empty.flush()
            del empty
            try:
                os.link(part, path)
            except FileExistsError:
                pass  # another process was faster
            except OSError:
                part.replace(path)  # a file system without links
        finally:
            part.unlink(missing_ok=True)
            key_part.unlink(missing_ok=True)
        return self._open(path)


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
    wanted: bool | str | Path | None, state: TrainingState, teacher: Callable[[], str]
) -> LogitCache | None:
    """Return a cache where logits repeat.

    Parameters
    ----------
    wanted : bool, str, Path or None
        None keeps them where they repeat and take little memory.
    state : TrainingState
    teacher : callable
        Returns the identity of the teacher; asked only where logits are kept.

    Returns
    -------
    LogitCache or None

    Raises
    ------
    ValueError
        If a cache is wanted and the images never repeat, or its file is of another run.
    """
    options = state.options
    versions = versions_of(options)
    if wanted is False or (wanted is None and not 0 < versions < options.epochs):
        return None
    if versions == 0:
        raise ValueError(
            "distill: cache_teacher must be False where images never repeat (mixup, cutmix, or "
            f"augment without variants), got {wanted!r}"
        )
    limit = _CACHE_BYTES if wanted is None else None
    where = True if wanted is None else wanted
    return LogitCache(
        where, options, state.samples, data=state.data, teacher=teacher(), limit=limit
    )


__all__ = ["LogitCache", "Teacher", "choose_cache", "versions_of"]
