"""The error of files that are not what they claim to be."""

from __future__ import annotations

from ..base.error import GraphError


class ImportFormatError(GraphError):
    """A network file is broken: truncated, inconsistent, or hostile. A ``ValueError``."""


__all__ = ["ImportFormatError"]
