"""Instructions, RAM and code of generated C on emulated microcontrollers, and its time here.

``python -m benchmarks.codegen.bench_boards`` prints Markdown. ``make test-mcu`` installs its tools.
RAM is arena, data and the deepest stack; instructions are counted by QEMU over one inference.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tersor.exporters import EmulatedModel, HostModel
from tests.codegen import boards, models

DSP = ("m4", "m7", "m33", "m55")
ROWS = (("m4", models.NAMES), ("m7", models.NAMES), ("m33", models.NAMES), ("m55", models.NAMES),
        ("m0", models.NAMES), ("rv32", models.NAMES))  # fmt: skip
STREAMED = ("resnet8", "ds_cnn", "mobilenet_v1")
# TFLite Micro + CMSIS-NN, -O2, QEMU Cortex-M4: instructions, RAM, code (measured beforehand).
PEER = {
    "resnet8": (29.86e6, 54_996, 94 * 1024),
    "ds_cnn": (7.70e6, 22_820, 99 * 1024),
    "mobilenet_v1": (24.10e6, 100_708, 99 * 1024),
    "autoencoder": (0.583e6, 2_580, 45 * 1024),
}


def measure(board: str, name: str, **options: bool) -> str:
    """One row of the table."""
    kernels = "dsp" if board in DSP else "portable"
    folder = models.folder(name, kernels, **options)
    emulated = EmulatedModel(folder, boards.CORES[board])
    codes = emulated.inputs[0].codes(models.inputs(name, 1, seed=11))
    got = emulated.emulate(codes)
    want = HostModel(folder, flags=("-std=c99", "-O2")).run(codes)[0]
    assert np.array_equal(got.outputs[0], want)
    cells = [
        name, board, " ".join([kernels, *options]), f"{got.instructions / 1e6:.3f} M",
        f"{got.instructions / models.MACS[name]:.2f}", f"{got.ram_bytes:,}",
        f"{got.code_bytes:,}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def host_milliseconds(name: str) -> float:
    """Shortest of many runs of the portable C on this machine."""
    host = HostModel(models.folder(name, "portable"))
    best = float("inf")
    for _ in range(300):
        start = time.perf_counter()
        host._run()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    """Print both tables."""
    print("| network | board | kernels | instructions | per MAC | RAM bytes | code bytes |")
    print("|---|---|---|--:|--:|--:|--:|")
    for name in models.NAMES:
        instructions, ram, code = PEER[name]
        per_mac = instructions / models.MACS[name]
        print(
            f"| {name} | m4 | TFLite Micro + CMSIS-NN | {instructions / 1e6:.3f} M | "
            f"{per_mac:.2f} | {ram:,} | {code:,} |"
        )
    for board, names in ROWS:
        for name in names:
            print(measure(board, name))
            sys.stdout.flush()
    for option in ("streaming", "rows_in"):
        for name in STREAMED:
            print(measure("m4", name, **{option: True}))
            sys.stdout.flush()
    for name in models.NAMES:
        print(f"{name}: {host_milliseconds(name):.3f} ms here, portable C, -O3 -march=native")


if __name__ == "__main__":
    main()
