"""Networks from other frameworks into :class:`tersor.Graph`."""

from .errors import ImportFormatError

__all__ = ["ImportFormatError"]
