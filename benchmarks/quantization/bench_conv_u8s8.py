"""Sums of uint8 x int8 quads against int16 pairs, where the CPU has VNNI."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Case, main
from benchmarks.quantization.bench_conv_int8 import LAYERS, layer


def cases() -> Iterator[Case]:
    """Layers that choose the quads."""
    for name, *sizes in LAYERS:
        conv, x, y, operations = layer(*sizes)
        if conv.algorithm != "bytes":
            continue
        pairs = layer(*sizes, "direct")[0]
        contenders = {
            "tersor bytes": lambda f=conv, x=x, y=y: f(x, out=y),
            "tersor direct": lambda f=pairs, x=x, y=y: f(x, out=y),
        }
        yield Case("conv_u8s8", {"layer": name}, contenders, operations=operations)


if __name__ == "__main__":
    main(__doc__, cases)
