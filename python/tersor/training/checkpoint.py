"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
        Tensors, numbers, text, lists and dictionaries.
    """
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
