"""Search over architectures and recipes by short trainings, by any number of processes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..base.schema import check_integer
from ..compress import compress
from ..data.augment import Augment
from ..data.dataset import Dataset
from ..data.load import as_dataset
from ..data.preprocess import Preprocess
from ..importers.torch import from_torch
from ..report.evaluate import accuracy as share_right
from ..report.evaluate import prepare_dataset, run_batches
from ..report.model import file_bytes, open_session
from .callback import Callback
from .fit import fit
from .state import TrainingState
from .sweep_result import SweepResult
from .sweep_space import SweepSpace
from .sweep_study import import_optuna, open_study, release_dead_trials, sign_on, still_alive

# Samples that calibrate a recipe.
_CALIBRATION = 256
# Where the penalty for size is 0; only differences matter.
_REFERENCE_BYTES = 100 * 1024
# Bits of a weight in the file of a recipe, for the estimate while a network still trains.
_BITS = {"fp32": 32.0, "fp16": 16.0, "bf16": 16.0, "int8": 8.0, "w4a8": 4.5, "w4a32": 4.5}
_SMALLEST_IMAGE = 32


def sweep(
    data: Any,
    *,
    validation: Any = None,
    space: SweepSpace | Mapping[str, Any] | str | Path | None = None,
    trials: int = 20,
    epochs: int = 3,
    size_weight: float = 0.01,
    storage: str | Path | None = None,
    study: str = "sweep",
    pruner: Literal["median", "halving", "none"] = "median",
    batch_size: int = 128,
    limit: int | None = None,
    augment: Augment | None = None,
    preprocess: Any = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> SweepResult:
    """Train small networks briefly, compress them, and keep what is accurate and small.

    A trial builds an architecture of the zoo, trains it for a few epochs, applies a recipe, and
    scores ``accuracy - size_weight * log2(bytes / 100 KB)`` on samples held out. Trials that are
    clearly worse after an epoch than others were are pruned. Any number of processes, on any
    number of hosts, may work on one study by naming the same storage: start the same sweep again.
    Trials of a process that died are queued again by the next one that starts.

    Parameters
    ----------
    data : Dataset, path or pair (x, y)
        Labeled images, uint8, shape (height, width, channels); those below 32 pixels are enlarged.
    validation : Dataset, path or pair (x, y), optional
        By default a fifth of `data`, drawn by `seed`. Never the test set.
    space : SweepSpace, mapping or path of a YAML file, optional
        See :class:`SweepSpace`.
    trials : int
        Complete and pruned ones of the whole study, >= 1.
    epochs : int
    size_weight : float
        Accuracy that halving the file is worth, >= 0: 0.01 is one point.
    storage : str or Path, optional
        Path of a journal file, or URL of a database; None keeps the study in memory.
    study : str
        Name in the storage.
    pruner : {"median", "halving", "none"}
    batch_size : int
    limit : int, optional
        Training samples of a trial, drawn by `seed`.
    augment : Augment, optional
    preprocess : Preprocess, mapping or path, optional
        By default pixels / 255, channels first.
    seed : int
        Of data, weights, order and the sampler.
    progress : callable, optional
        Told of each trial in a sentence.

    Returns
    -------
    SweepResult
        Of the whole study.

    Raises
    ------
    ValueError
        If an argument is out of range, or the study in the storage is of other settings.
    ImportError
        If Optuna is not installed.

    References
    ----------
    T. Akiba et al.: Optuna. A next-generation hyperparameter optimization framework. KDD 2019.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 64)
    >>> x = (rng.integers(0, 64, (64, 32, 32, 3)) + 128 * y[:, None, None, None]).astype(np.uint8)
    >>> space = {"filters": [4], "depth": [1, 2], "kernel": [3], "width": [1], "recipe": ["int8"]}
    >>> found = sweep((x, y), space=space, trials=2, epochs=1, batch_size=16)
    >>> len(found.trials)
    2
    """
    import_optuna()
    for name, value in (("trials", trials), ("epochs", epochs), ("batch_size", batch_size)):
        check_integer(value, least=1, what=f"sweep: {name}")
    check_integer(seed, least=0, what="sweep: seed")
    if not 0 <= size_weight < math.inf:
        raise ValueError(f"sweep: size_weight must be at least 0, got {size_weight!r}")
    chosen = SweepSpace.parse(space)
    prepare = Preprocess.parse(preprocess) or Preprocess(scale=1 / 255, layout="NCHW")
    train, held_out = _split(data, validation, limit, seed)
    worker = _Worker(
        chosen, train, held_out, prepare, epochs, size_weight, batch_size, augment, seed
    )
    made = open_study(storage, study, sampler=None, pruner=_pruner(pruner))
    first = _check_settings(made, worker.settings())
    _work(made, worker, trials, seed, first, progress)
    return SweepResult(made)


class _Report(Callback):
    """Tells a trial its accuracy after each epoch; ends it where others were better by then."""

    def __init__(self, trial: Any, penalty: float) -> None:
        self._trial, self._penalty = trial, penalty

    def on_epoch_end(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Report, and prune."""
        optuna = import_optuna()
        accuracy = float(metrics["validation_accuracy"])
        self._trial.set_user_attr("trained_accuracy", accuracy)
        still_alive(self._trial)
        self._trial.report(accuracy - self._penalty, state.epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class _Worker:
    """Runs trials: everything but the choice."""

    def __init__(
        self,
        space: SweepSpace,
        train: Dataset,
        held_out: Dataset,
        preprocess: Preprocess,
        epochs: int,
        size_weight: float,
        batch_size: int,
        augment: Augment | None,
        seed: int,
    ) -> None:
        self._space, self._train, self._held_out = space, train, held_out
        self._preprocess, self._epochs, self._size_weight = preprocess, epochs, size_weight
        self._batch_size, self._augment, self._seed = batch_size, augment, seed
        assert train.y is not None
        self._classes = int(train.y.max()) + 1

    def settings(self) -> dict[str, Any]:
        """What makes scores comparable."""
        return {
            "space": self._space.to_dict(),
            "epochs": self._epochs,
            "size_weight": self._size_weight,
            "batch_size": self._batch_size,
            "samples": [len(self._train), len(self._held_out)],
            "preprocess": self._preprocess.to_dict(),
            "seed": self._seed,
        }

    def __call__(self, trial: Any) -> float:
        """Build, train, compress, score."""
        sign_on(trial)
        params = self._space.suggest(trial)
        start = time.perf_counter()
        torch.manual_seed(self._seed)
        size = int(self._train.shape[0])
        module = self._space.build(params, num_classes=self._classes, input_size=size)
        count = sum(p.numel() for p in module.parameters())
        trial.set_user_attr("parameters", count)
        recipe = str(params.get("recipe", "fp32"))
        fit(
            module,
            self._train,
            epochs=self._epochs,
            batch_size=min(self._batch_size, len(self._train)),
            learning_rate=float(params.get("learning_rate", 0.1)),
            weight_decay=float(params.get("weight_decay", 5e-4)),
            schedule="one_cycle",
            augment=self._augment,
            preprocess=self._preprocess,
            validation=self._held_out,
            callbacks=[_Report(trial, self._penalty(count * _BITS.get(recipe, 8.0) / 8))],
            seed=self._seed,
            progress=False,
            device="cpu",
        )
        graph = from_torch(module, torch.zeros(1, 3, size, size))
        graph.preprocess = self._preprocess.to_dict()
        model: Any = graph
        if recipe != "fp32":
            model = compress(
                graph,
                recipe=recipe,
                calibration=self._train.sample(min(_CALIBRATION, len(self._train)), seed=0).x,
                progress=False,
            )
        labels = self._held_out.y
        assert labels is not None
        scores = run_batches(open_session(model), prepare_dataset(self._held_out, model)())
        found = {
            "accuracy": share_right(scores, labels),
            "size_bytes": file_bytes(model),
            "macs": int(graph.macs),
            "seconds": time.perf_counter() - start,
        }
        for name, value in found.items():
            trial.set_user_attr(name, value)
        return found["accuracy"] - self._penalty(found["size_bytes"])

    def _penalty(self, size_bytes: float) -> float:
        return self._size_weight * math.log2(size_bytes / _REFERENCE_BYTES)


def _work(
    study: Any,
    worker: _Worker,
    trials: int,
    seed: int,
    first: bool,
    progress: Callable[[str], None] | None,
) -> None:
    """Run trials until the study has enough; leave those of living processes to them."""
    optuna = import_optuna()
    states = optuna.trial.TrialState
    taken = (states.COMPLETE, states.PRUNED, states.RUNNING)
    released = release_dead_trials(study)
    if progress and released:
        progress(f"{released} trials of processes that died are run again")
    # Workers must not draw the same numbers; the first one draws those of the seed.
    offset = 0 if first else os.getpid()
    study.sampler = optuna.samplers.TPESampler(seed=seed + offset, n_startup_trials=5)
    while len(study.get_trials(deepcopy=False, states=taken)) < trials:
        study.optimize(worker, n_trials=1, callbacks=[_teller(progress)])


def _teller(progress: Callable[[str], None] | None) -> Callable[[Any, Any], None]:
    def tell(study: Any, trial: Any) -> None:
        if progress is None:
            return
        chosen = ", ".join(f"{name} {value}" for name, value in trial.params.items())
        state = trial.state.name.lower()
        score = "" if trial.value is None else f" {trial.value:.4f}"
        progress(f"trial {trial.number} {state}{score}: {chosen}")

    return tell


def _pruner(name: str) -> Any:
    pruners = import_optuna().pruners
    known = {
        "median": lambda: pruners.MedianPruner(n_startup_trials=4),
        "halving": lambda: pruners.SuccessiveHalvingPruner(reduction_factor=2),
        "none": pruners.NopPruner,
    }
    if name not in known:
        raise ValueError(f"sweep: pruner must be one of {', '.join(known)}, got {name!r}")
    return known[name]()


def _check_settings(study: Any, settings: dict[str, Any]) -> bool:
    """Whether the study is new; one that is not must have the same settings."""
    settings = json.loads(json.dumps(settings))
    known = study.user_attrs.get("settings")
    if known is None:
        study.set_user_attr("settings", settings)
        return True
    for name, value in settings.items():
        if known.get(name) != value:
            raise ValueError(
                f"sweep: {name} must be that of the study {study.study_name!r} "
                f"({known.get(name)!r}), got {value!r}; name another study"
            )
    return False


def _split(data: Any, validation: Any, limit: int | None, seed: int) -> tuple[Dataset, Dataset]:
    whole = as_dataset(data, "train")
    if validation is None:
        order = np.random.default_rng(seed).permutation(len(whole))
        held = max(1, len(whole) // 5)
        train, held_out = _rows(whole, order[held:]), _rows(whole, order[:held])
    else:
        other = as_dataset(validation, "test")
        train, held_out = _rows(whole, None), _rows(other, None)
    if limit is not None:
        check_integer(limit, least=1, what="sweep: limit")
        if limit < len(train):
            train = train.sample(limit, seed=seed)
    return train, held_out


def _rows(dataset: Dataset, rows: NDArray[np.intp] | None) -> Dataset:
    """Square images of three channels and at least 32 pixels."""
    if dataset.y is None:
        raise ValueError("sweep: data must have labels, got none")
    if dataset.dtype != np.uint8 or len(dataset.shape) != 3 or dataset.shape[2] not in (1, 3):
        raise ValueError(
            "sweep: data must be images, uint8 of shape (height, width, 1 or 3), got "
            f"{dataset.dtype} {dataset.shape}"
        )
    if dataset.shape[0] != dataset.shape[1]:
        raise ValueError(f"sweep: images must be square, got {dataset.shape[:2]}")
    x, y = dataset.x, dataset.y
    if rows is not None:
        x, y = x[rows], y[rows]
    times = -(-_SMALLEST_IMAGE // x.shape[1])
    if times > 1:
        x = x.repeat(times, axis=1).repeat(times, axis=2)
    if x.shape[3] == 1:
        x = x.repeat(3, axis=3)
    return Dataset.from_arrays(np.ascontiguousarray(x), y, name=dataset.name)


__all__ = ["sweep"]
