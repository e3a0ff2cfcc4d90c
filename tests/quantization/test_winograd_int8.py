"""The integer Winograd kernel: exact where it may run, refused where its sums could wrap."""

import numpy as np
import pytest

from tersor.quantization import ConvInt8
from tests.quantization.test_conv_int8 import check

PADS = (1, 1, 1, 1)


@pytest.mark.parametrize("fill", ["random", "signs", "high", "low"])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (4, 5), (8, 8), (13, 22), (30, 7)])
@pytest.mark.parametrize("channels", [(16, 16), (32, 10), (96, 33)])
def test_winograd_int8_is_exact(isa, size, channels, fill):
    inputs, outputs = channels
    conv = check(
        (2, *size, inputs), (outputs, inputs, 3, 3), pads=PADS, algorithm="winograd", fill=fill
    )
    assert conv.algorithm == "winograd"


def test_winograd_int8_bands(isa, threads):
    """A tall image is cut into bands whose last is not whole."""
    check((1, 150, 40, 16), (16, 16, 3, 3), pads=(2, 0, 1, 1), algorithm="winograd")


def test_winograd_int8_limit():
    shape, pads = (1, 8, 8, 128), PADS
    largest = np.full((16, 128, 3, 3), 127, np.int8)  # 255 * 127 * 1152 > 2^25
    assert ConvInt8(shape, largest, pads=pads).algorithm in ("direct", "bytes")
    with pytest.raises(ValueError, match="sums below 2\\^25"):
        ConvInt8(shape, largest, pads=pads, algorithm="winograd")
    check(shape, (16, 128, 3, 3), pads=pads, algorithm="direct", fill="high")
    usual = np.full((16, 128, 3, 3), 30, np.int8)
    assert ConvInt8(shape, usual, pads=pads).algorithm == "winograd"
    bias = np.full(16, 2**25, np.int32)
    assert ConvInt8(shape, usual, bias, pads=pads).algorithm in ("direct", "bytes")
