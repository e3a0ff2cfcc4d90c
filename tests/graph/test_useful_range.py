"""Codes are not spent on values that the operators after an edge cannot tell apart."""

import numpy as np
import pytest

import tersor
from tests.networks import Builder


def network(*readers, output=False, through=()):
    """A convolution with large outputs that `readers` read, each (op, attributes)."""
    b = Builder()
    x = b.input((3, 6, 6))
    y = b.conv(x, 4, name="wide")
    for op, attributes in through:
        y = b.node(op, y, name=op, **attributes)
    ends = [
        b.conv(b.node(op, y, name=f"{op}{i}", **attributes), 2, 1, name=f"end{i}")
        for i, (op, attributes) in enumerate(readers)
    ]
    return b.done(*ends, *([y] if output else []))


def samples():
    return np.random.default_rng(0).normal(size=(64, 3, 6, 6)).astype(np.float32) * 8


def coded_range(graph, recipe="int8"):
    """What the codes of the convolution's output cover, and what its values were."""
    compressed = tersor.compress(graph, recipe=recipe, calibration=samples())
    edge = next(e for e in compressed.graph.edges if e.name.removesuffix("/int8") == "wide")
    scale, zero_point = edge.qparams.scale[0], edge.qparams.zero_point[0]
    values = tersor.Session(graph).taps(samples(), edges=["wide"])["wide"]
    return scale * (-128 - zero_point), scale * (127 - zero_point), values


MINMAX = {"values": "int8", "activations": {"method": "minmax"}, "equalize": False}


@pytest.mark.parametrize("recipe", ["int8", MINMAX], ids=["mse", "minmax"])
@pytest.mark.parametrize(
    ("op", "attributes", "low", "high"),
    [
        ("hard_sigmoid", {}, -3, 3),
        ("hard_sigmoid", {"alpha": 0.2, "beta": 0.4}, -2, 3),
        ("sigmoid", {}, -6.25, 6.25),
        ("tanh", {}, -3.13, 3.13),
        ("hard_swish", {}, -3, None),
        ("silu", {}, -8, None),
    ],
)
def test_flat_ends_get_no_codes(op, attributes, low, high, recipe):
    least, largest, values = coded_range(network((op, attributes)), recipe)
    assert values.min() < -9
    assert values.max() > 9
    step = (largest - least) / 255
    # The zero point is a whole code, which moves the range by half a step; the search by squared
    # error goes in steps of 1 % of the range.
    slack = step if recipe is MINMAX else 0.02 * (largest - least)
    assert abs(least - low) <= slack
    if high is None:
        assert largest <= values.max() + step
        assert largest >= 0.7 * values.max()
    else:
        assert abs(largest - high) <= slack


def test_readers_and_outputs_that_need_more_get_more():
    sigmoid, swish, negative = ("hard_sigmoid", {}), ("hard_swish", {}), ("neg", {})
    *_, values = coded_range(network(sigmoid), MINMAX)
    cases = {
        "two": (network(sigmoid, swish), -3, values.max()),
        "neg": (network(sigmoid, negative), values.min(), values.max()),
        "output": (network(sigmoid, output=True), values.min(), values.max()),
        "average": (
            network(sigmoid, through=[("avg_pool", {"kernel": [2, 2], "strides": [2, 2]})]),
            values.min(),
            values.max(),
        ),
        "maximum": (
            network(sigmoid, through=[("max_pool", {"kernel": [2, 2], "strides": [2, 2]})]),
            -3,
            3,
        ),
    }
    for name, (graph, low, high) in cases.items():
        least, largest, _ = coded_range(graph, MINMAX)
        step = (largest - least) / 255
        assert abs(least - low) <= step, name
        assert abs(largest - high) <= step, name


def test_gates_are_finer():
    """Three bits more for a gate whose input reaches 8 times as far as it looks."""
    graph = network(("hard_sigmoid", {}))
    compressed = tersor.compress(graph, calibration=samples())
    x = samples()[:16]
    wanted, got = tersor.Session(graph)(x), tersor.Session(compressed)(x)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()) > 34
