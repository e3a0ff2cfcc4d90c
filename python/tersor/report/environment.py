"""What figures were measured on."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from ..base.config import config, processor_name
from ..base.isa import active_isa


def describe_environment() -> dict[str, Any]:
    """Return what the figures were measured on: processor, instruction set, versions.

    Returns
    -------
    dict
        Plain data.
    """
    versions = config()
    return {
        "processor": processor_name(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "isa": active_isa(),
        "system": platform.system(),
        "tersor": versions["version"],
        "onednn": versions["onednn"],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


__all__ = ["describe_environment"]
