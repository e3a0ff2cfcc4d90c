"""Networks from other frameworks into :class:`tersor.Graph`."""

from .errors import ImportFormatError
from .load import load

__all__ = ["ImportFormatError", "load"]
