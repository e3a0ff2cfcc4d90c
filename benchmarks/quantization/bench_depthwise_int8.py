"""Int8 depthwise convolutions of MobileNetV2 and EfficientNet-B0, codes in, codes out."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Case, main
from benchmarks.quantization.bench_conv_int8 import DEPTHWISE, layer


def cases() -> Iterator[Case]:
    """One case per layer."""
    for name, size, channels, kernel, stride in DEPTHWISE:
        conv, x, y, operations = layer(size, channels, channels, kernel, stride, channels)
        contenders = {"tersor": lambda f=conv, x=x, y=y: f(x, out=y)}
        yield Case("depthwise_int8", {"layer": name}, contenders, operations=operations)


if __name__ == "__main__":
    main(__doc__, cases)
