"""Operators of generated C that pick codes, and products: the session's bits."""

from __future__ import annotations

import numpy as np
import pytest

import tersor
from tersor.exporters import HostModel, c
from tests.codegen import graphs
from tests.networks import qparams

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")


def check(b, y, tmp_path, kernels="portable"):
    graph = b.done(y)
    x = graphs.codes(graph, 3)
    want = tersor.Session(graph, arithmetic="exact", provider="reference")(x)
    c.write(graph, tmp_path / kernels, kernels=kernels)
    np.testing.assert_array_equal(HostModel(tmp_path / kernels, flags=FLAGS)(x), want)


def transposed(b, x, shape, **attributes):
    """A transposed convolution with a scale for each output; one for all where it has groups."""
    groups = attributes.get("groups", 1)
    outputs, single = shape[1] * groups, groups > 1
    scales = b.rng.uniform(0.5, 1.5, 1 if single else outputs).astype(np.float32) / 500
    axes = (None, None) if single else (1, 0)
    weight, bias = (
        b.graph.add_constant(name, values, "", qparams(s, np.zeros(len(s), int), axis=axis, **more))
        for name, values, s, axis, more in (
            ("w", b.rng.integers(-127, 128, shape).astype(np.int8), scales, axes[0],
             {"narrow": True}),
            ("b", b.rng.integers(-999, 999, outputs).astype(np.int32),
             scales * np.float32(b.same(x).scale[0]), axes[1], {"bits": 32}),
        )
    )  # fmt: skip
    return b.make("conv_transpose", x, weight, bias, q=b.fresh(0.3), **attributes)


MOVES = {
    "twice": ("resize", {"sizes": [8, 10]}),
    "smaller": ("resize", {"sizes": [3, 2], "coordinates": "asymmetric", "nearest": "floor"}),
    "uneven": ("resize", {"sizes": [7, 3], "coordinates": "align_corners"}),
    "same": ("resize", {"sizes": [4, 5]}),
    "reflect": ("pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}),
    "edge": ("pad", {"pads": [0, 1, 0, 2, 0, 2, 3, 1], "mode": "edge"}),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name, tmp_path):
    b = graphs.RandomGraph(1)
    op, attributes = MOVES[name]
    x = b.affine("conv", b.start((3, 4, 5)), (5, 3, 1, 1))
    y = b.make(op, x, q=b.same(x), **attributes)
    check(b, y if name == "edge" else b.affine("conv", y, (2, 5, 1, 1)), tmp_path)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("indices", [[2, 0, -1, 0], [[1, 2], [0, 1]], 1])
def test_gather(axis, indices, tmp_path):
    b = graphs.RandomGraph(2)
    x = b.affine("conv", b.start((3, 4, 5)), (6, 3, 1, 1))
    i = b.graph.add_constant("i", np.array(indices, np.int64))
    check(b, b.make("gather", x, i, axis=axis, q=b.same(x)), tmp_path)


TRANSPOSED = {
    "plain": {},
    "strides": {"strides": [2, 3], "pads": [1, 0, 1, 1]},
    "dilated": {"strides": [2, 1], "dilations": [1, 2], "output_padding": [1, 0]},
}


@pytest.mark.parametrize("kernels", ["portable", "dsp"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name, kernels, tmp_path):
    b = graphs.RandomGraph(3)
    x = b.affine("conv", b.start((3, 4, 5)), (5, 3, 1, 1))
    check(b, transposed(b, x, (5, 4, 3, 2), **TRANSPOSED[name]), tmp_path, kernels)


@pytest.mark.parametrize("kind", ["activations", "constant", "one for all"])
def test_products_of_matrices(kind, tmp_path):
    b = graphs.RandomGraph(4)
    x = b.start((3, 4, 5))
    if kind == "constant":
        codes = b.rng.integers(-128, 128, size=(5, 6)).astype(np.int8)
        right = b.graph.add_constant("w", codes, "", b.fresh())
    else:
        right = b.table(b.make("transpose", x, perm=[0, 1, 3, 2], q=b.same(x)))
    if kind == "one for all":
        right = b.make("slice", right, axes=[1], starts=[1], ends=[2], q=b.same(right))
    check(b, b.make("matmul", x, right, q=b.fresh(2.0)), tmp_path)


def test_what_these_do_not_cover_is_named(tmp_path):
    for seed, (op, attributes, text) in enumerate(
        [
            (
                "resize",
                {"sizes": [8, 8], "mode": "linear"},
                "takes the nearest pixel, got mode lin",
            ),
            ("conv_transpose", {"groups": 2}, "one group, got 2 and 2"),
            ("conv_transpose", {"pads": [3, 3, 3, 3]}, "pads must be less than the kernel reaches"),
        ]
    ):
        b = graphs.RandomGraph(seed)
        x = b.start((4, 8, 8))
        if op == "resize":
            y = b.make(op, x, q=b.same(x), **attributes)
        else:
            y = transposed(b, x, (4, 2, 3, 3), **attributes)
        with pytest.raises(tersor.UnsupportedError, match=rf"layer {op}\d* \({op}\): .*{text}"):
            c.write(b.done(y), tmp_path / "out", kernels="portable")
    assert list(tmp_path.iterdir()) == []
