"""Errors, instruction sets, threads, configuration."""

from .config import config, get_cmake_dir, get_include, show_config
from .error import (
    ArtifactError,
    BudgetError,
    DeviceError,
    Error,
    GraphError,
    UnsupportedError,
)
from .isa import active_isa, force_isa, supported_isas
from .threads import get_threads, set_threads

__all__ = [
    "ArtifactError",
    "BudgetError",
    "DeviceError",
    "Error",
    "GraphError",
    "UnsupportedError",
    "active_isa",
    "config",
    "force_isa",
    "get_cmake_dir",
    "get_include",
    "get_threads",
    "set_threads",
    "show_config",
    "supported_isas",
]
