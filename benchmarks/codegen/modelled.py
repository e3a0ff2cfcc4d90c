"""Modelled latency and energy of generated C, from counted instructions and cycles of the core.

``python -m benchmarks.codegen.modelled INSTRUCTIONS`` takes millions of instructions.
"""

from __future__ import annotations

import sys

from tersor import Target

# Cycles of one instruction; sources in the profiles.
CYCLES = {"stm32l4r5": 1.45, "stm32u575": 1.3, "stm32u385": 1.3, "stm32h7a3": 1.0, "nrf52840": 1.45}


def main() -> None:
    """Print a row for each target."""
    for text in sys.argv[1:]:
        instructions = float(text) * 1e6
        for name, cycles in CYCLES.items():
            target = Target.load(name)
            seconds = instructions * cycles / target.clock_hz
            joules = seconds * target.power_model.active_w
            print(f"{text} M on {name}: {seconds * 1e3:.1f} ms, {joules * 1e3:.2f} mJ (modelled)")


if __name__ == "__main__":
    main()
