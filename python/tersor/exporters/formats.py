"""The formats that a network can be exported to, and the one way in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ..base.schema import check_path, did_you_mean
from ..graph.graph import Graph
from .byte_input import byte_input
from .files import check_folder


@dataclass(frozen=True)
class Format:
    """How a format is told by its name, and who writes it."""

    suffix: str  # of the file; "": a folder
    module: str  # of this room, whose write(graph, path, **options) returns what it changed


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", "onnx"),
    "tflite": Format(".tflite", "tflite"),
    "c": Format("", "c"),
}


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    path : Path
        The file, or the folder.
    format : str
        Its key in `FORMATS`.
    nbytes : int
        Bytes on disk.
    details : str
        What counts besides, such as the RAM and flash of generated C.
    decoded : mapping of str to str
        Layers whose weights the format cannot hold as they are, and what was written instead.
    """

    path: Path
    format: str
    nbytes: int
    decoded: Mapping[str, str] = field(default_factory=dict)
    details: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.format}, {self.nbytes:,} bytes"
        text += f" ({self.details})" if self.details else ""
        if not self.decoded:
            return text
        reasons: dict[str, list[str]] = {}
        for layer, reason in self.decoded.items():
            reasons.setdefault(reason, []).append(layer)
        lines = (
            f"  {len(layers)} layer{'s' * (len(layers) > 1)} ({_some(layers)}): {reason}"
            for reason, layers in reasons.items()
        )
        return "\n".join([text, *lines])


def _size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def export(
    model: Any,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    bytes_in: bool = False,
    **options: Any,
) -> Exported:
    """Write a network for another runtime; the file appears completely or not at all.

    Parameters
    ----------
    model : Graph or CompressedModel
    path : path-like
        A file, or a folder that does not exist yet for formats of several files.
    format : str, optional
        A key of `FORMATS`; by default what the suffix of `path` says.
    bytes_in : bool, default False
        Take stored images (uint8) as input: the network's preprocessing becomes its first layer
        (:func:`tersor.exporters.byte_input`).
    **options : object
        What the format's writer takes, such as `dtype`.

    Returns
    -------
    Exported
        Size and what was decoded; its text says both.

    Raises
    ------
    ValueError
        If the format is not known, or an option is not possible.
    UnsupportedError
        If the format has no form for an operator; the message names the layer.
    FileNotFoundError
        If the folder of `path` does not exist.
    FileExistsError
        If `path` is a folder, or must not exist and does.
    OSError
        If it cannot be written there; nothing is left of it then.
    ImportError
        If a package that writes the format is missing; the message names the pip command.

    Examples
    --------
    >>> import tersor
    >>> tersor.exporters.export(tersor.Graph(), "network.txt")
    Traceback (most recent call last):
        ...
    ValueError: export: path must end in .onnx, .tflite, or format must be given, got 'network.txt'
    """
    file = Path(check_path(path, what="export: path"))
    name = _format_of(file) if format is None else format
    if name not in FORMATS:
        raise ValueError(
            f"export: format must be one of {', '.join(FORMATS)}, got {name!r}"
            f"{did_you_mean(str(name), list(FORMATS))}"
        )
    graph = getattr(model, "graph", model)
    if not isinstance(graph, Graph):
        raise TypeError(
            f"export: model must be a Graph or a CompressedModel, got {type(model).__name__}"
        )
    _check_place(file, FORMATS[name])
    if bytes_in:
        graph = byte_input(graph)
    graph.verify()
    writer = import_module(f".{FORMATS[name].module}", __package__)
    decoded: dict[str, str] = writer.write(graph, file, **options)
    details = writer.describe(file) if hasattr(writer, "describe") else ""
    return Exported(file, name, _size_of(file), decoded, details)


def _format_of(path: Path) -> str:
    suffix = path.suffix.lower()
    found = [name for name, format in FORMATS.items() if format.suffix == suffix and suffix]
    if not found:
        known = ", ".join(f.suffix for f in FORMATS.values() if f.suffix)
        raise ValueError(
            f"export: path must end in {known}, or format must be given, got {path.name!r}"
        )
    return found[0]


def _check_place(path: Path, format: Format) -> None:
    check_folder(path, "export")
    if format.suffix and path.is_dir():
        raise FileExistsError(f"export: path must be a file, got the folder {str(path)!r}")
    if not format.suffix and (path.exists() or path.is_symlink()):
        raise FileExistsError(
            f"export: path must be a folder that does not exist, got {str(path)!r}"
        )


__all__ = ["FORMATS", "Exported", "Format", "export"]
