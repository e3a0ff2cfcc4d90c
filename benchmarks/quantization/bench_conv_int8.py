"""Int8 convolutions of ResNet-20, ResNet-8 and MobileNetV2, codes in, codes out.

GOP/s count two operations per multiply-accumulate of the definition, whatever the algorithm does.
Direct sums on one core of an AVX2 CPU with two 16-bit multiply-add units have a limit of 64
operations per cycle; ``bench_winograd_int8`` shows what lies above it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Case, main
from tersor.quantization import ConvInt8

# name, height = width, inputs, outputs, kernel, stride, groups
LAYERS = [
    ("resnet stem", 32, 3, 16, 3, 1, 1),
    ("resnet 16", 32, 16, 16, 3, 1, 1),
    ("resnet 16-32 /2", 32, 16, 32, 3, 2, 1),
    ("resnet 32", 16, 32, 32, 3, 1, 1),
    ("resnet 32-64 /2", 16, 32, 64, 3, 2, 1),
    ("resnet 64", 8, 64, 64, 3, 1, 1),
    ("mobilenet stem", 224, 3, 32, 3, 2, 1),
    ("mobilenet 24-144", 56, 24, 144, 1, 1, 1),
    ("mobilenet 144-24", 56, 144, 24, 1, 1, 1),
    ("mobilenet 384-64", 14, 384, 64, 1, 1, 1),
    ("mobilenet 320-1280", 7, 320, 1280, 1, 1, 1),
]
# name, height = width, channels, kernel, stride
DEPTHWISE = [
    ("mobilenet 32", 112, 32, 3, 1),
    ("mobilenet 96 /2", 112, 96, 3, 2),
    ("mobilenet 144", 56, 144, 3, 1),
    ("mobilenet 384", 14, 384, 3, 1),
    ("mobilenet 960", 7, 960, 3, 1),
    ("efficientnet 240", 28, 240, 5, 1),
]


def layer(size, inputs, outputs, kernel, stride, groups, algorithm="automatic"):
    """A packed layer, its input and output, and how many operations it has."""
    rng = np.random.default_rng(0)
    w = np.clip(rng.normal(0, 36, (outputs, inputs // groups, kernel, kernel)), -127, 127)
    begin, end = (kernel - 1) // 2, kernel // 2
    pads = (begin, begin, end, end) if stride == 1 else (0, 0, end, end)
    x = rng.integers(-128, 128, (1, size, size, inputs)).astype(np.int8)
    window = {"strides": (stride, stride), "pads": pads, "groups": groups}
    codes = w.astype(np.int8)
    conv = ConvInt8(x.shape, codes, zero_point=-128, multiplier=1e-4, algorithm=algorithm, **window)
    y = conv(x)
    return conv, x, y, 2 * y.size * w[0].size


def cases(layers=LAYERS) -> Iterator[Case]:
    """Each layer with the chosen algorithm and by direct sums."""
    for name, size, inputs, outputs, kernel, stride, groups in layers:
        conv, x, y, operations = layer(size, inputs, outputs, kernel, stride, groups)
        contenders = {f"tersor {conv.algorithm}": lambda f=conv, x=x, y=y: f(x, out=y)}
        if conv.algorithm == "winograd":
            direct = layer(size, inputs, outputs, kernel, stride, groups, "direct")[0]
            contenders["tersor direct"] = lambda f=direct, x=x, y=y: f(x, out=y)
        yield Case("conv_int8", {"layer": name}, contenders, operations=operations)


if __name__ == "__main__":
    main(__doc__, cases)
