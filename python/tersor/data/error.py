"""The exception of readers and of checks on data."""

from __future__ import annotations

from ..base.error import Error


class DataError(Error, ValueError):
    """Data cannot be used: damaged, empty, not finite, or of a wrong shape."""


__all__ = ["DataError"]
