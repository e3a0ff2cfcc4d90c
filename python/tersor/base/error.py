"""Exceptions. Native half: ``cpp/tersor/base/error.h``, whose types become these.

Wrong values and types raise the built-in ValueError and TypeError.
"""

from __future__ import annotations

from typing import Any


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
    """A budget is not met; the message says by how much. The command line ends with exit code 3.

    Attributes
    ----------
    misses : tuple of tersor.targets.Miss
        Each line that does not hold, with its limit and its figure.
    """

    def __init__(self, message: str, misses: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.misses = tuple(misses)

    def __reduce__(self) -> tuple[type[BudgetError], tuple[str, tuple[Any, ...]]]:
        return type(self), (str(self), self.misses)


__all__ = [
    "ArtifactError",
    "BudgetError",
    "DeviceError",
    "Error",
    "GraphError",
    "UnsupportedError",
]
