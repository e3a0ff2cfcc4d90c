"""Zeros and values of weights, to the last one: after saving and loading, in ONNX, TFLite and C."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import tersor
from tests.compress import networks as compressible

RECIPES = {
    "deep-compression": "deep-compression",
    "codebook4": "codebook4",
    "codebook4a8": "codebook4a8",
    "pruned int8": {"values": "int8", "pruning": {"sparsity": 0.75}},
    "pruned 1x4": {"values": "int8", "pruning": {"sparsity": 0.75, "structure": "1x4"}},
    "pruned fp32": {"values": "fp32", "pruning": {"sparsity": 0.75}},
}
INT8 = [name for name in RECIPES if "int8" in name or "1x4" in name or "a8" in name]


@functools.cache
def compressed(name):
    graph, samples = compressible.residual(), compressible.images()
    return tersor.compress(graph, recipe=RECIPES[name], calibration=samples)


def weights(graph):
    """By name, what the session computes with: floats, or int8 codes where inputs are int8."""
    found = {}
    for node in graph.nodes:
        if node.op not in ("conv", "dense"):
            continue
        edge, q = graph.edge(node.inputs[1]), graph.edge(node.inputs[1]).qparams
        w = np.asarray(edge.constant)
        if q is not None and q.codebook is not None:
            table = np.asarray(q.codebook)
            assert table.shape[0] == 1
            w = table[0][w]
            if graph.edge(node.inputs[0]).qparams is None:
                scale = np.float32(q.scale).reshape(-1, *[1] * (w.ndim - 1))
                w = np.float32(w) * scale
            else:
                w = w.astype(np.int8)
        found[edge.name] = w
    assert len(found) == 4
    return found


def test_recipes_leave_zeros_and_few_values():
    for name in RECIPES:
        for w in weights(compressed(name).graph).values():
            if "codebook" in name or name == "deep-compression":
                assert len(np.unique(w)) <= 16
            if "pruned" in name or name == "deep-compression":
                assert (w == 0).any()
    dropped = weights(compressed("deep-compression").graph).values()
    zeros = sum(int((w == 0).sum()) for w in dropped)
    assert zeros == pytest.approx(0.75 * sum(w.size for w in dropped), abs=len(dropped))


@pytest.mark.parametrize("coding", ["fast", "small", None])
@pytest.mark.parametrize("name", RECIPES)
def test_saving_and_loading_keep_every_weight(name, coding, tmp_path):
    model = compressed(name)
    tersor.artifact.save(tmp_path / "n.tersor", model.graph, profile=coding)
    again = tersor.artifact.load(tmp_path / "n.tersor")[0]
    want, got = weights(model.graph), weights(again)
    assert want.keys() == got.keys()
    for w in want:
        np.testing.assert_array_equal(got[w], want[w])


@pytest.mark.parametrize("name", RECIPES)
def test_onnx_keeps_every_weight(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = compressed(name)
    model.export(tmp_path / "n.onnx")
    stored = onnx.load(tmp_path / "n.onnx").graph.initializer
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}
    for key, w in weights(model.graph).items():
        got = arrays[key]
        if got.dtype == np.uint8:  # int8 with 128 as its zero point, as ONNX Runtime wants it
            got = (got ^ 0x80).view(np.int8)
        np.testing.assert_array_equal(got if got.shape == w.shape else got.T, w)


@pytest.mark.parametrize("name", RECIPES)
def test_tflite_keeps_every_weight(name, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    model = compressed(name)
    model.export(tmp_path / "n.tflite")
    lite = interpreter.Interpreter(str(tmp_path / "n.tflite"))
    arrays = []
    for detail in lite.get_tensor_details():
        try:
            arrays.append(lite.get_tensor(detail["index"]))
        except ValueError:  # an activation
            continue
    for w in weights(model.graph).values():
        order = (0, 2, 3, 1) if w.ndim == 4 else (0, 1)  # TFLite's own
        assert any(np.array_equal(a, w.transpose(order)) for a in arrays)


@pytest.mark.parametrize("name", INT8)
def test_c_keeps_every_weight(name, tmp_path):
    model = compressed(name)
    model.export(tmp_path / "c", format="c", kernels="portable")
    text = (tmp_path / "c" / "network.c").read_text()
    arrays = []
    for body in re.findall(r"static const int8_t layer_\d+_weights\[\d+\] = \{([^}]*)\}", text):
        arrays.append(np.array(re.findall(r"-?\d+", body), np.int64))
    layers = weights(model.graph).values()
    assert len(arrays) == len(layers)
    for stored, w in zip(arrays, layers, strict=True):
        # Held as code + 128, so that 0, which no code of narrow weights is, pads.
        codes = (stored[stored != 0].astype(np.int8).view(np.uint8) ^ 0x80).view(np.int8)
        np.testing.assert_array_equal(np.sort(codes), np.sort(w, axis=None))
