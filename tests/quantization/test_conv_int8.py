"""tersor.quantization.conv_int8 against NumPy in int64: sums exact, codes equal."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.quantization import ConvInt8, ResidualAdd, requantize


def numpy_sums(x, w, bias, zero_point, strides, pads, dilations, groups):
    """Int64 truth, NHWC and OIHW."""
    n, height, width, channels = x.shape
    outputs, depth, kh, kw = w.shape
    v = np.zeros((n, height + pads[0] + pads[2], width + pads[1] + pads[3], channels), np.int64)
    v[:, pads[0] : pads[0] + height, pads[1] : pads[1] + width] = x.astype(np.int64) - zero_point
    oh = (v.shape[1] - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    ow = (v.shape[2] - dilations[1] * (kw - 1) - 1) // strides[1] + 1
    y = np.zeros((n, oh, ow, outputs), np.int64)
    for ky in range(kh):
        for kx in range(kw):
            rows = slice(
                ky * dilations[0], ky * dilations[0] + strides[0] * (oh - 1) + 1, strides[0]
            )
            columns = slice(
                kx * dilations[1], kx * dilations[1] + strides[1] * (ow - 1) + 1, strides[1]
            )
            part = v[:, rows, columns].reshape(n, oh, ow, groups, depth)
            taps = w[:, :, ky, kx].astype(np.int64).reshape(groups, outputs // groups, depth)
            y += np.einsum("nhwgc,goc->nhwgo", part, taps).reshape(y.shape)
    return y + (0 if bias is None else bias)


def numpy_codes(sums, multiplier, zero_point, lo, hi):
    """Fast arithmetic of requantize.h in float32."""
    m = np.asarray(multiplier, np.float64)
    v = sums.astype(np.float32) * m.astype(np.float32)
    v += np.copysign(np.where(m < 0.5, 2.0 ** np.floor(np.log2(m)), 0).astype(np.float32), v)
    return (np.rint(np.clip(v, lo - zero_point, hi - zero_point)) + zero_point).astype(np.int8)


def check(shape, weights_shape, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1,
          algorithm="automatic", fill="random", seed=0):  # fmt: skip
    """Sums and codes of one layer, with and without a residual."""
    rng = np.random.default_rng(seed)
    zero_point = int(rng.choice([-128, 127, -3]))
    if fill == "random":
        x = rng.integers(-128, 128, shape).astype(np.int8)
        w = rng.integers(-127, 128, weights_shape).astype(np.int8)
    elif fill == "signs":
        x = rng.choice([-128, 127], shape).astype(np.int8)
        w = rng.choice([-127, 127], weights_shape).astype(np.int8)
    else:  # the largest sums that there are
        zero_point = -128
        x = np.full(shape, 127, np.int8)
        w = np.full(weights_shape, 127 if fill == "high" else -127, np.int8)
    bias = rng.integers(-(2**20), 2**20, weights_shape[0]).astype(np.int32)
    window = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
    expected = numpy_sums(x, w, bias, zero_point, **window)
    spread = max(float(np.abs(expected).max()), 1) if expected.size else 1.0
    multiplier = rng.uniform(50, 200, weights_shape[0]) / spread
    output = {"output_zero_point": -11, "lo": -50, "hi": 120}
    layer = {
        "zero_point": zero_point,
        "multiplier": multiplier,
        "algorithm": algorithm,
        "scale": 0.1,
    }
    conv = ConvInt8(shape, w, bias, **layer, **output, **window)
    np.testing.assert_array_equal(conv.accumulate(x), expected)
    codes = numpy_codes(expected, multiplier, -11, -50, 120)
    np.testing.assert_array_equal(conv(x), codes)
    add = ResidualAdd(0.05, 7, 0.12, -20, -90, 100)
    summed = ConvInt8(shape, w, bias, add=add, **layer, **output, **window)
    residual = rng.integers(-128, 128, codes.shape).astype(np.int8)
    scales = [
        np.float32(np.float64(np.float32(s)) / np.float64(np.float32(0.12))) for s in (0.1, 0.05)
    ]
    v = scales[0] * (codes.astype(np.float32) + 11) + scales[1] * (residual.astype(np.float32) - 7)
    expected_codes = (np.rint(np.clip(v, -90 + 20, 100 + 20)) - 20).astype(np.int8)
    np.testing.assert_array_equal(summed(x, residual), expected_codes)
    return conv


LAYERS = [
    ((1, 32, 32, 3), (16, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((2, 13, 9, 16), (32, 16, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 8, 8, 64), (64, 64, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 15, 17, 16), (32, 16, 3, 3), {"pads": (0, 0, 1, 1), "strides": (2, 2)}),
    ((3, 7, 5, 40), (24, 40, 1, 1), {}),
    ((1, 8, 8, 16), (10, 16, 1, 1), {"strides": (2, 2)}),
    ((1, 14, 14, 24), (24, 1, 3, 3), {"pads": (1, 1, 1, 1), "groups": 24}),
    ((2, 9, 9, 33), (33, 1, 5, 5), {"pads": (2, 2, 2, 2), "groups": 33, "strides": (2, 2)}),
    ((1, 6, 6, 12), (8, 3, 3, 3), {"pads": (1, 1, 1, 1), "groups": 4}),
    ((1, 1, 7, 100), (10, 100, 1, 1), {}),
    ((1, 1, 30, 5), (7, 5, 1, 3), {"pads": (0, 2, 0, 2), "dilations": (1, 2)}),
]


@pytest.mark.parametrize("fill", ["random", "signs", "high", "low"])
@pytest.mark.parametrize(("shape", "weights", "window"), LAYERS)
def test_conv_int8_is_exact(isa, threads, shape, weights, window, fill):
    check(shape, weights, fill=fill, **window)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_conv_int8_any_shape(data):
    draw = data.draw
    small = st.integers(1, 3)
    groups = draw(st.sampled_from([1, 1, 1, 2, 5]))
    depth, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    if draw(st.booleans()):
        groups, depth, outputs = draw(st.integers(1, 40)), 1, 1
    window = {
        "strides": (draw(small), draw(small)),
        "dilations": (draw(small), draw(small)),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        "groups": groups,
    }
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    spans = [window["dilations"][i] * (kernel[i] - 1) + 1 for i in range(2)]
    height = draw(st.integers(max(1, spans[0] - window["pads"][0] - window["pads"][2]), 14))
    width = draw(st.integers(max(1, spans[1] - window["pads"][1] - window["pads"][3]), 14))
    tersor.force_isa(draw(st.sampled_from(tersor.supported_isas())))
    try:
        check((draw(small), height, width, groups * depth), (groups * outputs, depth, *kernel),
              seed=draw(st.integers(0, 99)), **window)  # fmt: skip
    finally:
        tersor.force_isa("")


@pytest.mark.parametrize("op", ["pad_int8", "conv_int8_direct", "winograd_int8", "depthwise_int8"])
def test_conv_int8_reference_kernels(op):
    _core.base.force_kernel("quantization", op, "ref")
    try:
        for shape, weights, window in LAYERS[1:9]:
            check(shape, weights, fill="signs", **window)
    finally:
        _core.base.force_kernel("quantization", op, "")


def test_conv_int8_exact_arithmetic(threads):
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (2, 12, 12, 16)).astype(np.int8)
    w = rng.integers(-127, 128, (20, 16, 3, 3)).astype(np.int8)
    multiplier = rng.uniform(1e-5, 1e-3, 20)
    conv = ConvInt8(
        x.shape, w, zero_point=5, multiplier=multiplier, output_zero_point=3, arithmetic="exact"
    )
    expected = requantize(conv.accumulate(x), multiplier, 3, arithmetic="exact")
    np.testing.assert_array_equal(conv(x), expected)


def test_conv_int8_per_instruction_set_in_fresh_processes():
    """TERSOR_ISA chooses before anything is packed."""
    code = (
        "import sys; sys.path.insert(0, '.');"
        "from tests.quantization.test_conv_int8 import LAYERS, check;"
        "[check(s, w, fill=f, **k) for s, w, k in LAYERS for f in ('signs', 'high')]"
    )
    for level in tersor.supported_isas():
        environment = {**os.environ, "TERSOR_ISA": level}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)


def test_conv_int8_empty_batch():
    conv = ConvInt8((0, 4, 4, 16), np.ones((16, 16, 3, 3), np.int8))
    assert conv(np.empty((0, 4, 4, 16), np.int8)).shape == (0, 2, 2, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"zero_point": 128}, "zero_point must be in"),
        ({"strides": (0, 1)}, "stride must be in"),
        ({"groups": 3}, "channels / groups"),
        ({"pads": (-1, 0, 0, 0)}, "padding must be >= 0"),
        ({"multiplier": -1.0}, "value must be in"),
        ({"algorithm": "fft"}, "algorithm must be"),
        ({"algorithm": "depthwise"}, "depthwise must have"),
        ({"arithmetic": "sloppy"}, "arithmetic must be"),
        ({"lo": 5, "hi": 4}, "lo and hi must satisfy"),
        ({"bias": np.full(4, 2**31 - 1, np.int32)}, "must be below 2\\^31"),
        ({"bias": np.zeros(3, np.int32)}, "bias must have 4 elements, got 3"),
    ],
)
def test_conv_int8_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvInt8((1, 4, 4, 16), np.ones((4, 16, 3, 3), np.int8), **arguments)


def test_conv_int8_rejects_inputs():
    conv = ConvInt8((1, 4, 4, 2), np.ones((4, 2, 3, 3), np.int8))
    with pytest.raises(ValueError, match="x must have shape"):
        conv(np.zeros((1, 4, 4, 3), np.int8))
    with pytest.raises(ValueError, match="residual must be given"):
        conv(np.zeros((1, 4, 4, 2), np.int8), np.zeros((1, 2, 2, 4), np.int8))
    with pytest.raises(ValueError, match="must hold int8 codes"):
        conv(np.full((1, 4, 4, 2), 300))
