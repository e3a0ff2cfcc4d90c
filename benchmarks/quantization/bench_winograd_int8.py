"""Integer Winograd against direct sums on 3 x 3 layers of growing width."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Case, main
from benchmarks.quantization.bench_conv_int8 import cases as conv_cases

LAYERS = [
    (f"{size} x {size} x {channels}", size, channels, channels, 3, 1, 1)
    for size, channels in [(32, 16), (16, 32), (8, 64), (56, 64), (28, 128), (14, 64), (7, 64)]
]


def cases() -> Iterator[Case]:
    """One case per layer."""
    return conv_cases(LAYERS)


if __name__ == "__main__":
    main(__doc__, cases)
