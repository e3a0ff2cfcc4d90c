"""Emulated microcontrollers, and which of them this machine can run."""

from __future__ import annotations

import pytest

from tersor.exporters.emulated_model import missing_tools

# Short names of the tests, and of the tables in docs/benchmarks.md.
CORES = {
    "microbit": "microbit",
    "m0": "cortex-m0",
    "m3": "cortex-m3",
    "m4": "cortex-m4",
    "m7": "cortex-m7",
    "m33": "cortex-m33",
    "m55": "cortex-m55",
    "rv32": "rv32imac",
}


def require(name: str) -> str:
    """Return a board's core, or skip the test where its compiler or emulator is missing."""
    core = CORES[name]
    missing = missing_tools(core)
    if missing:
        pytest.skip(f"{missing}, or make test-mcu")
    return core
