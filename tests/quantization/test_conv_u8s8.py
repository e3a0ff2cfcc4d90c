"""Sums of uint8 x int8 quads (VNNI, elsewhere the reference kernel) against NumPy in int64."""

import pytest

from tests.quantization.test_conv_int8 import LAYERS, check


@pytest.mark.parametrize("fill", ["random", "signs", "high", "low"])
@pytest.mark.parametrize(("shape", "weights", "window"), LAYERS)
def test_conv_u8s8_is_exact(isa, shape, weights, window, fill):
    conv = check(shape, weights, algorithm="bytes", fill=fill, **window)
    assert conv.algorithm == "bytes"
