"""A study that several processes share, and what becomes of the trials of those that died."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

_WORKER = "worker"
_SEEN = "seen"  # seconds since 1970, written after every epoch
# A worker of another host that was silent for so long is taken for dead.
STALE_S = 3600.0


def open_study(
    storage: str | Path | None, name: str, *, sampler: Any, pruner: Any, load: bool = True
) -> Any:
    """Create a study, or join it.

    Parameters
    ----------
    storage : str, Path or None
        A URL of a database, the path of a journal file, or None for memory.
    name : str
    sampler, pruner : optuna objects
    load : bool
        Join a study of that name that exists already.

    Returns
    -------
    optuna.Study

    Raises
    ------
    ImportError
        If Optuna is not installed.
    """
    optuna = import_optuna()
    place: Any = None
    if storage is not None:
        text = os.fspath(storage)
        place = text if "://" in text else _journal(text)
    return optuna.create_study(
        study_name=name,
        storage=place,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=load,
    )


def import_optuna() -> Any:
    """Return the module Optuna, quiet.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed; the message names the command.
    """
    try:
        import optuna
    except ImportError:
        raise ImportError("sweep needs Optuna: pip install 'tersor[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def sign_on(trial: Any) -> None:
    """Note in a trial which process runs it, and that it lives.

    Parameters
    ----------
    trial : optuna.Trial
    """
    trial.set_user_attr(_WORKER, [socket.gethostname(), os.getpid(), _started(os.getpid())])
    still_alive(trial)


def still_alive(trial: Any) -> None:
    """Note in a trial that its process lives.

    Parameters
    ----------
    trial : optuna.Trial
    """
    trial.set_user_attr(_SEEN, time.time())


def release_dead_trials(study: Any) -> int:
    """Fail trials whose process died, and queue their choices again.

    Parameters
    ----------
    study : optuna.Study

    Returns
    -------
    int
        How many there were.
    """
    from optuna.trial import TrialState

    released = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _lives(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):
            continue  # another worker was faster
        if trial.params:
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
        released += 1
    return released


def _lives(trial: Any) -> bool:
    worker = trial.user_attrs.get(_WORKER)
    if worker is None:  # just begun, or died within milliseconds of that
        begun = trial.datetime_start
        return begun is None or time.time() - begun.timestamp() < 60
    host, process, started = worker
    if host != socket.gethostname():
        return time.time() - float(trial.user_attrs.get(_SEEN, 0)) < STALE_S
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # The number may belong to another process by now.
    return bool(_started(int(process)) == started)


def _started(process: int) -> str | None:
    """When a process began, as the kernel counts; None where it does not say.

    A process that ended but was not waited for has no time of its own any more.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else fields[19]


def _journal(path: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"sweep: the folder of the storage does not exist: {folder}")
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


__all__ = [
    "STALE_S",
    "import_optuna",
    "open_study",
    "release_dead_trials",
    "sign_on",
    "still_alive",
]
