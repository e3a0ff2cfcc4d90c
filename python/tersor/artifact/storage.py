"""Where the bytes of a ``.tersor`` file go, tensor by tensor, beside general compressors."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .artifact import inspect, load

_COLUMNS = ("values", "indices", "codebook", "scales", "metadata")


def storage(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Account for every byte of a ``.tersor`` file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        ``tensors``: a dict for each constant with its name, origin, shape, structure, element type,
        coding, and the bytes of its ``values``, ``indices`` (masks), ``codebook``, ``scales`` (with
        zero points) and ``metadata`` (headers of sparse forms; the tables of an entropy code count
        as values), their sum ``bytes``, and beside it the same values dense: ``float32``, ``raw``
        (codes packed to their bits), ``gzip`` and ``zstd`` of raw (levels 9 and 19; None without a
        module for zstd). ``rest``: bytes of graph, stream table, metadata, provenance, header and
        alignment. ``total``: sums over the tensors; ``file_bytes`` is total bytes and rest.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    """
    contents, graph = inspect(path), load(path)[0]
    rows: dict[str, dict[str, Any]] = {}
    for edge in graph.edges:
        if edge.is_constant:
            rows[edge.name] = _row(edge)
    for stream in contents["streams"]:
        row = rows.setdefault(
            stream["edge"], {"name": stream["edge"], **dict.fromkeys(_COLUMNS, 0)}
        )
        if stream["part"] == "values":
            row["coding"] = stream["coding"]
            for part in ("values", "indices", "metadata"):
                row[part] += stream[part]
        else:
            row["codebook" if stream["part"] == "codebook" else "scales"] += stream["length"]
    tensors = list(rows.values())
    for row in tensors:
        row["bytes"] = sum(row[column] for column in _COLUMNS)
    sections = {s["name"]: s["length"] for s in contents["sections"]}
    stored = sum(row["bytes"] for row in tensors)
    rest = {name: sections[name] for name in sections if name != "stream data"}
    rest["header and alignment"] = contents["file_bytes"] - stored - sum(rest.values())
    total = {
        column: _sum([row.get(column) for row in tensors])
        for column in (*_COLUMNS, "bytes", "float32", "raw", "gzip", "zstd")
    }
    return {
        "file_bytes": contents["file_bytes"],
        "tensors": tensors,
        "rest": rest,
        "total": total,
    }


def _sum(values: list[Any]) -> int | None:
    return None if any(v is None for v in values) else int(sum(values))


def _row(edge: Any) -> dict[str, Any]:
    value, q = edge.constant, edge.qparams
    raw = _packed(value, q)
    return {
        "name": edge.name,
        "origin": edge.origin,
        "shape": list(edge.shape),
        "structure": _structure(value, q),
        "dtype": edge.dtype if q is None else f"{q.bits}-bit codes",
        "coding": "",
        **dict.fromkeys(_COLUMNS, 0),
        "float32": 4 * int(value.size),
        "raw": len(raw),
        "gzip": len(gzip.compress(raw, 9, mtime=0)),
        "zstd": _zstd(raw),
    }


def _structure(value: NDArray[Any], q: Any) -> str:
    if value.size == 0:
        return "dense"
    zero = 0
    if q is not None and q.codebook is not None:
        zeros = np.flatnonzero(np.asarray(q.codebook).reshape(-1) == 0)
        if zeros.size == 0:
            return "dense"
        zero = int(zeros[0]) % np.asarray(q.codebook).shape[-1]
    share = np.count_nonzero(value == zero) / value.size
    return f"{100 * share:.0f} % zeros" if share >= 1 / 16 else "dense"


def _packed(value: NDArray[Any], q: Any) -> bytes:
    flat = np.ascontiguousarray(value).reshape(-1)
    if q is None or q.bits >= 8 or flat.dtype.itemsize != 1:
        return flat.tobytes()
    packed: NDArray[np.uint8] = _core.quantization.pack_bits(flat.view(np.uint8), q.bits, None)
    return packed.tobytes()


def _zstd(data: bytes) -> int | None:
    if importlib.util.find_spec("compression") and importlib.util.find_spec("compression.zstd"):
        module: Any = importlib.import_module("compression.zstd")
        return len(module.compress(data, level=19))
    if importlib.util.find_spec("zstandard"):
        module = importlib.import_module("zstandard")
        return len(module.ZstdCompressor(level=19).compress(data))
    return None


__all__ = ["storage"]
