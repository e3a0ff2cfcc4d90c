"""Work and memory of graphs against hand-worked values."""

import numpy as np

import tersor
from tersor.report.layers import activation_peak_bytes, layer_costs
from tersor.zoo import load_digits_network


def chain():
    """Make a network of three sizes: 4 -> 8 -> 2, with a residual that keeps the input alive."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 4))
    wide = graph.add_constant("wide", np.ones((8, 4), np.float32))
    back = graph.add_constant("back", np.ones((4, 8), np.float32))
    y = graph.add_node("dense", [x, wide], {}, "up")
    y = graph.add_node("dense", [y, back], {}, "down")
    y = graph.add_node("add", [y, x], {}, "sum")
    graph.set_outputs([y])
    return graph


def test_costs_of_layers():
    up, down, total = layer_costs(chain())
    assert (up.name, up.macs, up.weight_bytes, up.activation_bytes) == ("up", 32, 128, 48)
    assert (down.macs, down.weight_bytes, down.activation_bytes) == (32, 128, 48)
    assert (total.macs, total.weight_bytes, total.activation_bytes) == (0, 0, 48)
    assert {cost.format for cost in (up, down, total)} == {"fp32"}
    assert {cost.format for cost in layer_costs(chain(), precision="bf16")} == {"bf16"}


def test_peak_of_activations():
    # At "down": x (16 bytes), the wide edge (32) and the result (16) are alive together.
    assert activation_peak_bytes(chain()) == 64


def test_digits():
    graph = load_digits_network()
    assert sum(cost.macs for cost in layer_costs(graph)) == graph.macs
    # Residual input, convolution's input and output: three edges of 16 x 8 x 8 floats.
    assert activation_peak_bytes(graph) == 3 * 16 * 64 * 4
    assert activation_peak_bytes(load_digits_network(canonicalize=False)) == 3 * 16 * 64 * 4
