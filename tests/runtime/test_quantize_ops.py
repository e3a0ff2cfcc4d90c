"""quantize, dequantize and requantize: the operators between types, on both providers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tersor
from tersor._core.quantization import QParams

from .fixed_point import FORMULAS, quantize_multiplier, scaled

PROVIDERS = ["", "reference"]
SIZES = [0, 1, 15, 16, 17, 33, 1000]


def one_node(
    op: str, dtype: str, n: int, given: QParams | None, made: QParams | None
) -> tersor.Graph:
    graph = tersor.Graph()
    x = graph.add_input("x", dtype, (None, n))
    if given is not None:
        graph.set_qparams(x, given)
    graph.set_outputs([graph.add_node(op, [x], {}, "node", "y", qparams=made)])
    graph.verify()
    return graph


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("n", SIZES)
def test_quantize(isa: str, provider: str, n: int) -> None:
    q = QParams(scale=[0.3], zero_point=[-7])
    x = np.random.default_rng(n).normal(scale=30, size=(1, n)).astype(np.float32)
    x[0, :6] = np.array([np.nan, np.inf, -np.inf, -35.25, 0.45, -0.0], np.float32)[:n]
    y = tersor.Session(one_node("quantize", "float32", n, None, q), provider=provider)(x)
    quotient = x / np.float32(0.3)
    expected = np.clip(np.where(np.isnan(quotient), -7, np.rint(quotient) - 7), -128, 127)
    np.testing.assert_array_equal(y, expected.astype(np.int8))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("n", [0, 1, 256])
def test_dequantize(isa: str, provider: str, n: int) -> None:
    q = QParams(scale=[0.3], zero_point=[-7])
    x = np.arange(-128, 128, dtype=np.int8)[None, :n]
    y = tersor.Session(one_node("dequantize", "int8", n, q, None), provider=provider)(x)
    np.testing.assert_array_equal(y, (x.astype(np.float32) + 7) * np.float32(0.3))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
@pytest.mark.parametrize("scales", [(0.1, 0.25), (0.25, 0.1), (0.1, 0.1), (3.0, 0.01)])
def test_requantize_every_code(
    isa: str, provider: str, arithmetic: str, scales: tuple[float, float]
) -> None:
    given, made = (
        QParams(scale=[scales[0]], zero_point=[3]),
        QParams(scale=[scales[1]], zero_point=[-20]),
    )
    x = np.arange(-128, 128, dtype=np.int8)[None]
    session = tersor.Session(
        one_node("requantize", "int8", 256, given, made), provider=provider, arithmetic=arithmetic
    )
    value = x.astype(np.int64) - 3
    ratio = float(given.scale[0]) / float(made.scale[0])
    y = scaled(value, quantize_multiplier(ratio))
    np.testing.assert_array_equal(session(x), np.clip(y - 20, -128, 127).astype(np.int8))


def test_per_channel_quantization_is_the_reference_s() -> None:
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 3, 4))
    q = QParams(scale=[0.1, 0.2, 0.5], zero_point=[0, 1, -1], axis=1)
    graph.set_outputs([graph.add_node("quantize", [x], {}, "node", "y", qparams=q)])
    values = np.random.default_rng(0).normal(scale=5, size=(2, 3, 4)).astype(np.float32)
    scale, zero = np.asarray(q.scale)[:, None], np.asarray(q.zero_point)[:, None]
    expected = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
    np.testing.assert_array_equal(tersor.Session(graph)(values), expected)


@pytest.mark.parametrize("op", ["sigmoid", "tanh", "gelu", "silu", "elu", "exp", "abs"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_unary_functions_of_every_code(isa: str, op: str, provider: str) -> None:
    from .operator_truth import TRUTH

    attributes = {"gelu": {"approximate": "none"}, "elu": {"alpha": 1.0}}.get(op, {})
    given = QParams(scale=[0.05], zero_point=[10])
    made = {
        "sigmoid": QParams(scale=[1 / 256], zero_point=[-128]),
        "tanh": QParams(scale=[1 / 128], zero_point=[0]),
    }.get(op, QParams(scale=[0.07], zero_point=[-30]))
    graph = tersor.Graph()
    x = graph.add_input("x", "int8", (None, 256))
    graph.set_qparams(x, given)
    graph.set_outputs([graph.add_node(op, [x], attributes, "node", "y", qparams=made)])
    codes = np.arange(-128, 128, dtype=np.int8)[None]
    real = TRUTH[op](attributes, (codes.astype(np.float64) - 10) * float(np.float32(0.05)))
    expected = np.clip(np.rint(real / float(made.scale[0])) + made.zero_point[0], -128, 127)
    np.testing.assert_array_equal(
        tersor.Session(graph, provider=provider)(codes), expected.astype(np.int8)
    )


# From steps of 1 / 1000 to saturation, ties, and scales that 16-bit multipliers shift up and down.
SCALES = [(0.05, 0.07), (0.5, 1.0), (1.0, 0.5), (0.001, 0.02), (0.02, 0.001), (0.3, 0.3)]


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "hard_swish"])
@pytest.mark.parametrize("zeros", [(10, -30), (-128, -128), (127, 5)])
@pytest.mark.parametrize("scales", SCALES)
def test_integer_functions_of_every_code(op, zeros, scales) -> None:
    """The integers of TFLite Micro, at most one code from the real function."""
    from .operator_truth import TRUTH

    given, made = (QParams(scale=[s], zero_point=[z]) for s, z in zip(scales, zeros, strict=True))
    attributes = {"alpha": 0.2} if op == "leaky_relu" else {}
    codes = np.arange(-128, 128, dtype=np.int8)[None]
    case = SimpleNamespace(op=op, attributes=attributes)
    expected = FORMULAS[op](case, SimpleNamespace(codes=[codes], qparams=[given], output=made))
    graph = tersor.Graph()
    x = graph.add_input("x", "int8", (None, 256))
    graph.set_qparams(x, given)
    graph.set_outputs([graph.add_node(op, [x], attributes, "node", "y", qparams=made)])
    for provider in PROVIDERS:
        y = tersor.Session(graph, provider=provider)(codes)
        np.testing.assert_array_equal(y, expected)
    real = TRUTH[op](attributes, (codes.astype(np.float64) - zeros[0]) * float(given.scale[0]))
    ideal = np.clip(np.rint(real / float(made.scale[0])) + zeros[1], -128, 127)
    assert np.abs(ideal - expected).max() <= 1


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "hard_swish"])
def test_functions_of_scales_beyond_the_integers(op) -> None:
    """A ratio that no multiplier holds, a negative slope: the real function."""
    from .operator_truth import TRUTH

    attributes = {"alpha": -0.5} if op == "leaky_relu" else {}
    for scales in ((0.1, 0.1), (1e6, 1e-6), (1e-6, 1e6)):
        given, made = (QParams(scale=[s], zero_point=[0]) for s in scales)
        graph = tersor.Graph()
        x = graph.add_input("x", "int8", (None, 256))
        graph.set_qparams(x, given)
        graph.set_outputs([graph.add_node(op, [x], attributes, "node", "y", qparams=made)])
        codes = np.arange(-128, 128, dtype=np.int8)[None]
        real = TRUTH[op](attributes, codes.astype(np.float64) * float(given.scale[0]))
        ideal = np.clip(np.rint(real / float(made.scale[0])), -128, 127)
        assert np.abs(tersor.Session(graph)(codes) - ideal).max() <= 1
