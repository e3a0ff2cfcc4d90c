"""Reading and writing ``.tersor`` files. Native half: ``cpp/tersor/artifact/artifact.h``."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import _core
from ..base.error import ArtifactError

# Metadata is small; more than this is a decompression bomb, not a recipe.
_MOST_JSON_BYTES = 16 << 20


def _pack(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return zlib.compress(text.encode(), 9)


def _pack_any(provenance: dict[str, Any] | None) -> bytes:
    # Nothing is no bytes: then the file's own SHA-256 is its content hash.
    return _pack(provenance) if provenance else b""


def _check_isa() -> None:
    # A wrong TERSOR_ISA is no fault of the file, as which the reader would report it.
    _core.base.active_isa()


def _unpack(data: bytes, section: str) -> dict[str, Any]:
    if not data:
        return {}
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(data, _MOST_JSON_BYTES)
        if not stream.eof or stream.unused_data:
            raise ValueError("it is cut, too long or followed by other bytes")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("it must hold an object")
    except (ValueError, zlib.error, RecursionError) as error:
        raise ArtifactError(f"artifact: section {section} is not valid JSON: {error}") from None
    return value


def encode(
    graph: Any,
    metadata: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    *,
    profile: str | None = "fast",
) -> bytes:
    """Encode a network as the bytes of a ``.tersor`` file.

    Parameters
    ----------
    graph : Graph
        The network with its constants.
    metadata : dict, optional
        JSON values that belong to the content: recipe, preprocessing, lineage.
    provenance : dict, optional
        JSON values that do not: measurements, times, machine.
    profile : {"fast", "small"} or None, default "fast"
        How tensors are entropy-coded, without loss, each in its smallest form: "fast" decodes about
        as fast as a file is read, "small" saves several percent more and loads some 25 M weights a
        second on each core, None writes values and packed codes as they are.

    Returns
    -------
    bytes

    Raises
    ------
    GraphError
        If the graph does not verify.
    ValueError
        If `profile` does not exist, or `metadata` or `provenance` holds what JSON cannot (NaN,
        infinities).
    TypeError
        If they hold objects that are no JSON values.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> graph.set_outputs([graph.add_node("relu", [x])])
    >>> tersor.artifact.encode(graph)[1:4]
    b'TSR'
    """
    data: bytes = _core.artifact.encode(
        graph, _pack(metadata or {}), _pack_any(provenance), profile
    )
    return data


def decode(data: bytes, *, verify: bool = True) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Decode the bytes of a ``.tersor`` file.

    Parameters
    ----------
    data : bytes
    verify : bool, default True
        Compare the checksum of every tensor. Without it, damage inside of a tensor may go unnoticed
        (never unsafely); everything else is checked in any case.

    Returns
    -------
    graph : Graph
    metadata : dict
    provenance : dict

    Raises
    ------
    ArtifactError
        If anything in the file is damaged, hostile or from a newer version.
    """
    _check_isa()
    graph, metadata, provenance = _core.artifact.decode(data, verify)
    return graph, _unpack(metadata, "metadata"), _unpack(provenance, "provenance")


def save(
    path: str | os.PathLike[str],
    graph: Any,
    metadata: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    *,
    profile: str | None = "fast",
) -> None:
    """Write a ``.tersor`` file; it appears completely or not at all.

    Parameters
    ----------
    path : str or path-like
    graph, metadata, provenance, profile
        As for `encode`.

    Raises
    ------
    ArtifactError
        If the file cannot be written.
    """
    _core.artifact.write(
        os.fspath(path), graph, _pack(metadata or {}), _pack_any(provenance), profile
    )


def load(
    path: str | os.PathLike[str], *, verify: bool = True
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Read a ``.tersor`` file; returns what `decode` returns.

    Parameters
    ----------
    path : str or path-like
    verify : bool, default True
        As for `decode`.

    Raises
    ------
    ArtifactError
        If the file cannot be read or is damaged.
    """
    _check_isa()
    graph, metadata, provenance = _core.artifact.read(os.fspath(path), verify)
    return graph, _unpack(metadata, "metadata"), _unpack(provenance, "provenance")


def load_tensors(
    path: str | os.PathLike[str], names: Iterable[str], *, verify: bool = True
) -> dict[str, tuple[NDArray[Any], Any]]:
    """Read some tensors of a ``.tersor`` file, without decoding the others.

    Parameters
    ----------
    path : str or path-like
    names : iterable of str
        Edges of the graph that are constants, such as `inspect` lists under ``streams``.
    verify : bool, default True
        Compare the checksums of these tensors.

    Returns
    -------
    dict of str to (ndarray, QParams or None)
        Values as they are stored; with parameters they are codes, which
        `tersor.quantization.dequantize` turns into numbers.

    Raises
    ------
    ValueError
        If a name is not that of a constant.
    ArtifactError
        If the file cannot be read, or what is read of it is damaged.

    Examples
    --------
    >>> import numpy as np, tempfile, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 2))
    >>> w = graph.add_constant("w", np.eye(2, dtype=np.float32))
    >>> graph.set_outputs([graph.add_node("dense", [x, w])])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/network.tersor", graph)
    ...     load_tensors(folder + "/network.tersor", ["w"])["w"][0]
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    _check_isa()
    wanted = list(dict.fromkeys(names))
    found = _core.artifact.read_tensors(os.fspath(path), wanted, verify)
    return dict(zip(wanted, found, strict=True))


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Where every byte of a ``.tersor`` file goes.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        ``version``, ``file_bytes``, ``sections`` (name, offset, length) and ``streams``
        (edge, part, coding, offset, length and its parts values, indices, metadata); offsets and
        lengths in bytes.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    _check_isa()
    info: dict[str, Any] = _core.artifact.inspect(Path(path).read_bytes())
    return info


def content_hash(graph: Any, metadata: dict[str, Any] | None = None) -> str:
    """SHA-256 of the file that `save` writes by default (profile "fast"), without provenance.

    Parameters
    ----------
    graph : Graph
    metadata : dict, optional

    Returns
    -------
    str
        64 hexadecimal digits. Equal content has equal digits, whatever was measured or when.
    """
    return hashlib.sha256(encode(graph, metadata)).hexdigest()
