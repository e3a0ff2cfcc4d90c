"""Exceptions. Native half: ``cpp/tersor/base/error.h``, whose types become these.

Wrong values and types raise the built-in ValueError and TypeError.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of the exceptions that tersor defines."""


class GraphError(Error, ValueError):
    """A graph is inconsistent; the message names the node or edge."""


class ArtifactError(Error, ValueError):
    """A ``.tersor`` file is damaged, hostile, or of a version that this release cannot read."""


class UnsupportedError(Error, ValueError):
    """The request is valid, but this build or this version cannot do it."""


class DeviceError(Error, RuntimeError):
    """A device is missing or failed; the message says what to install or enable."""


class BudgetError(Error, RuntimeError):
    """A budget cannot be met; the message says by how much."""


__all__ = [
    "ArtifactError",
    "BudgetError",
    "DeviceError",
    "Error",
    "GraphError",
    "UnsupportedError",
]
