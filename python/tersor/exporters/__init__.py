"""Networks from tersor into the formats of other runtimes."""

from .host_model import HostModel

__all__ = ["HostModel"]
