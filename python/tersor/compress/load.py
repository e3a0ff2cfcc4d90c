"""``tersor.load``: a network from a file, by its suffix."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.schema import check_path

_SUFFIXES = ".onnx, .tflite, .tersor, .keras, .h5"


def load(
    path: str | os.PathLike[str], *, shapes: Mapping[str, Sequence[int | None]] | None = None
) -> Any:
    """Load a network.

    Parameters
    ----------
    path : path-like
        ``.onnx``, ``.tflite``, ``.tersor``, or ``.keras`` / ``.h5`` (with keras installed).
    shapes : mapping of str to sequence of (int or None), optional
        ONNX only: shapes of inputs that the file leaves open; ``None`` stands for the batch.

    Returns
    -------
    Graph or CompressedModel
        A compressed model from a ``.tersor`` file, else a graph.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The suffix is unknown, or the file is broken (:class:`tersor.GraphError`,
        :class:`tersor.ArtifactError`).
    TypeError
        `path` is none.
    ImportError
        A package that reads this format is missing; the message names the pip command.

    Examples
    --------
    >>> import tersor
    >>> tersor.load("network.txt")
    Traceback (most recent call last):
        ...
    ValueError: load: path must end in .onnx, .tflite, .tersor, .keras, .h5, got 'network.txt'
    """
    file = Path(check_path(path, what="load: path"))
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES.split(", "):
        raise ValueError(f"load: path must end in {_SUFFIXES}, got {file.name!r}")
    if not file.is_file():
        raise FileNotFoundError(
            f"load: path must be a file, got {str(path)!r}, which does not exist"
        )
    if suffix == ".onnx":
        from ..importers.onnx import load_onnx

        return load_onnx(file, shapes=shapes)
    if shapes is not None:
        raise ValueError(f"load: shapes must be None for a {suffix} file, got {dict(shapes)}")
    if suffix == ".tersor":
        from .model import CompressedModel

        return CompressedModel.load(file)
    if suffix == ".tflite":
        from ..importers.tflite import load_tflite

        return load_tflite(file)
    from ..importers.keras import load_keras

    return load_keras(file)


__all__ = ["load"]
