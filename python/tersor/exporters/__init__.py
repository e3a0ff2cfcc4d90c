"""Networks from tersor into the formats of other runtimes."""

from .byte_input import byte_input
from .formats import FORMATS, Exported, Format, export
from .host_model import HostModel

__all__ = ["FORMATS", "Exported", "Format", "HostModel", "byte_input", "export"]
