"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

NAME = "checkpoint.pt"
_FORMAT = 1


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, replacing the one before it.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.
    content : dict
        Tensors, numbers, text, lists and dictionaries; NumPy's numbers and arrays become those.

    Raises
    ------
    TypeError
        If something else is in it, which could not be read back; the file is then left as it was.
    """
    content = {name: _plain(value, name) for name, value in content.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{NAME}.{os.getpid()}.part"
    try:
        with part.open("wb") as stream:
            torch.save({"format": _FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / NAME)
    finally:
        part.unlink(missing_ok=True)


def _plain(value: Any, where: str) -> Any:
    """Return a value as what ``weights_only`` loading knows."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        return {_plain(k, where): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        made = (_plain(v, f"{where}[{i}]") for i, v in enumerate(value))
        return type(value)(made) if type(value) in (list, tuple, set) else list(made)
    if isinstance(value, (bool, int, float, str)):  # enumerations and the like
        return value.real if not isinstance(value, str) else str(value)
    raise TypeError(
        f"fit: the state {where} must be tensors, numbers, text, lists or dictionaries to be in a "
        f"checkpoint, got {type(value).__name__}"
    )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in the file can name a function.

    Parameters
    ----------
    path : Path
        The file, or its folder.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged or of another version.
    """
    file = path / NAME if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"fit: resume must name a checkpoint, got {file}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).splitlines() or ["it cannot be read"])[0]
        raise ValueError(f"fit: checkpoint {file} is damaged: {reason}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"fit: checkpoint {file} is not of format {_FORMAT}")
    return content


def check_fingerprint(saved: dict[str, Any], present: dict[str, Any], path: Path) -> None:
    """Refuse to continue a run with other settings.

    Parameters
    ----------
    saved, present : dict
        Plain settings.
    path : Path
        For the message.

    Raises
    ------
    ValueError
        Naming the settings that differ.
    """
    differences = [
        f"{name} = {present.get(name)!r} (was {saved.get(name)!r})"
        for name in dict.fromkeys([*saved, *present])
        if saved.get(name) != present.get(name)
    ]
    if differences:
        raise ValueError(
            f"fit: settings must be those of the checkpoint {path}, got {', '.join(differences)}"
        )


__all__ = ["NAME", "check_fingerprint", "load_checkpoint", "save_checkpoint"]
