"""Modelled latency and energy of generated C, from counted instructions and cycles of the core.

``python -m benchmarks.codegen.modelled INSTRUCTIONS`` takes millions of instructions.
"""

from __future__ import annotations

import sys

from tersor import Target

NAMES = ("stm32l4r5", "stm32u575", "stm32u385", "stm32h7a3", "nrf52840")


def main() -> None:
    """Print a row for each target."""
    for text in sys.argv[1:]:
        instructions = float(text) * 1e6
        for name in NAMES:
            target = Target.load(name)
            cycles = target.latency_model.cycles_per_instruction
            seconds = instructions * cycles / target.clock_hz
            joules = seconds * target.power_model.active_w
            print(f"{text} M on {name}: {seconds * 1e3:.1f} ms, {joules * 1e3:.2f} mJ (modelled)")


if __name__ == "__main__":
    main()
