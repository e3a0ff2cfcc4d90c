"""What the saved file of a network is made of: its bytes by part, and its hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from .. import _core, artifact

PARTS = ("values", "indices", "codebooks", "scales", "graph", "metadata")


@dataclass(frozen=True)
class FileParts:
    """The bytes of a ``.tersor`` file.

    Attributes
    ----------
    values : int
        Weights as they are coded, with the tables of their entropy codes.
    indices : int
        Which entries of sparse tensors are kept.
    codebooks : int
    scales : int
        Scales and zero points.
    graph : int
        Layers, shapes and names.
    metadata : int
        Recipe, lineage, tables, checksums, headers and alignment.
    content_hash : str
        SHA-256 of the file, in 64 hexadecimal digits.
    """

    values: int
    indices: int
    codebooks: int
    scales: int
    graph: int
    metadata: int
    content_hash: str

    @property
    def total(self) -> int:
        """Bytes of the file: the sum of the parts."""
        return sum(getattr(self, part) for part in PARTS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return {part: getattr(self, part) for part in PARTS}


def file_parts(model: Any) -> FileParts:
    """Encode a network as it would be saved, and account for every byte.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    FileParts
        Its total is ``model.nbytes``, its hash ``model.content_hash``.

    Examples
    --------
    >>> from tersor.zoo import load_digits_network
    >>> parts = file_parts(load_digits_network())
    >>> parts.indices, parts.total == parts.values + parts.graph + parts.metadata
    (0, True)
    """
    graph = getattr(model, "graph", model)
    data = artifact.encode(graph, getattr(model, "metadata", None))
    info: dict[str, Any] = _core.artifact.inspect(data)
    sums = dict.fromkeys(PARTS, 0)
    for stream in info["streams"]:
        if stream["part"] == "values":
            sums["values"] += stream["values"]
            sums["indices"] += stream["indices"]
        else:
            sums["codebooks" if stream["part"] == "codebook" else "scales"] += stream["length"]
    sums["graph"] = next((s["length"] for s in info["sections"] if s["name"] == "graph"), 0)
    sums["metadata"] = len(data) - sum(sums.values())
    return FileParts(**sums, content_hash=hashlib.sha256(data).hexdigest())


__all__ = ["PARTS", "FileParts", "file_parts"]
