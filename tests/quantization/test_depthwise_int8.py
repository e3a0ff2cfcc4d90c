"""The depthwise kernel against NumPy in int64."""

import pytest

from tests.quantization.test_conv_int8 import check


@pytest.mark.parametrize("fill", ["random", "signs", "high", "low"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 3), (2, 4)])
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 48])
def test_depthwise_int8_is_exact(isa, kernel, channels, fill):
    conv = check(
        (2, 9, 11, channels), (channels, 1, *kernel), pads=(1, 2, 1, 0), groups=channels, fill=fill
    )
    assert conv.algorithm == "depthwise"


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 3)])
def test_depthwise_int8_windows(isa, threads, strides, dilations):
    check(
        (1, 40, 23, 32),
        (32, 1, 3, 3),
        pads=(2, 2, 2, 2),
        groups=32,
        strides=strides,
        dilations=dilations,
    )


def test_depthwise_int8_bands(isa, threads):
    """An image larger than a band."""
    check((1, 60, 60, 96), (96, 1, 3, 3), pads=(1, 1, 1, 1), groups=96)


def test_depthwise_int8_many_taps(isa):
    conv = check((1, 14, 14, 3), (3, 1, 13, 13), pads=(6, 6, 6, 6), groups=3)
    assert conv.algorithm in ("direct", "bytes")
