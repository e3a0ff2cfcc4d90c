"""The error of files that are not what they claim to be, and lists in messages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..base.error import GraphError


class ImportFormatError(GraphError):
    """A network file is broken: truncated, inconsistent, or hostile. A ``ValueError``."""


def wrapped(names: Iterable[str]) -> str:
    """Return names as lines of at most 100 columns.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    str
    """
    indent = "  "
    return textwrap.fill(
        ", ".join(names), 100, initial_indent=indent, subsequent_indent=indent,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


__all__ = ["ImportFormatError", "wrapped"]
