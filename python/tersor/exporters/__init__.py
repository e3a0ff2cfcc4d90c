"""Networks from tersor into the formats of other runtimes."""

from .byte_input import byte_input
from .emulated_model import EmulatedModel, Emulation, emulated_cores
from .formats import FORMATS, Exported, Format, export
from .host_model import HostModel

__all__ = [
    "FORMATS",
    "EmulatedModel",
    "Emulation",
    "Exported",
    "Format",
    "HostModel",
    "byte_input",
    "emulated_cores",
    "export",
]
