"""What would pay: what is said of a network is what happens to it."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tersor
from tersor.compress.advise import advise
from tersor.targets import Target
from tests.compress.networks import images, residual
from tests.networks import Builder


def mixed():
    """Every kind of layer that is told apart."""
    b = Builder(1)
    x = b.conv(b.input((3, 16, 16)), 16, name="stem", strides=[2, 2], activation="relu")
    x = b.conv(x, 16, name="plain", activation="relu")
    x = b.conv(x, 16, name="depthwise", groups=16)
    x = b.conv(x, 32, 1, name="grouped", groups=2)
    x = b.conv(x, 96, 1, name="point")
    x = b.node("reduce_mean", x, name="mean", axes=[2, 3], keepdims=0)
    x = b.dense(x, 1024, name="wide")
    return b.done(b.node("softmax", b.dense(x, 10, name="classes"), name="softmax", axis=-1))


def of(advice, topic):
    return [finding for finding in advice.findings if finding.topic == topic]


def test_each_layer_and_each_kind():
    advice = tersor.advise(mixed())
    layers = {layer.name: layer for layer in advice.layers}
    assert [layer.kind for layer in advice.layers] == [
        "3x3 convolutions with stride 2",
        "3x3 convolutions in Winograd's form",
        "depthwise convolutions",
        "grouped convolutions",
        "1x1 convolutions",
        "dense layers",
        "dense layers",
    ]
    assert layers["depthwise"].pays_from is None
    assert layers["depthwise"].why_not == "the session runs depthwise convolutions dense"
    assert layers["wide"].pays_from > 0.5  # 98,304 weights
    assert layers["wide"].pays_from_batch is None
    assert layers["classes"].why_not == "its dense form is faster at any sparsity"
    assert sum(layer.macs for layer in advice.layers) == mixed().macs
    named = [name for finding in of(advice, "sparsity") for name in finding.layers]
    assert sorted(named) == sorted(layers)
    for finding in of(advice, "sparsity"):
        group = [layers[name] for name in finding.layers]
        assert finding.pays == any(layer.pays_from or layer.pays_from_int8 for layer in group)
        assert finding.source == ("graph" if "session runs" in finding.text else "table")


def test_what_it_says_of_pruned_layers():
    graph = mixed()
    w = np.asarray(graph.edge("point.weight").constant).copy()
    w.flat[np.random.default_rng(0).permutation(w.size)[: round(0.95 * w.size)]] = 0
    graph.set_constant("point.weight", w)
    advice = advise(graph)
    layer = next(layer for layer in advice.layers if layer.name == "point")
    assert layer.sparsity == pytest.approx(0.95, abs=1e-3)
    sentence = next(f.text for f in advice.findings if f.layers == ("point",))
    assert layer.pays_from is not None
    assert "(1 of 1 already)" in sentence
    assert "spmm" in layer.kernel


def test_int8_and_what_stays_in_float():
    graph = mixed()
    first, *stay = of(advise(graph), "int8")
    assert first.pays
    assert first.text.startswith("7 of 7 layers with weights, 100% of the MACs, can be int8")
    assert [(f.layers, f.text) for f in stay] == [
        (("softmax",), "stays in float: softmax needs float accuracy")
    ]
    done = tersor.compress(graph, recipe="int8", calibration=images())
    assert set(done.notes["float_layers"]) == {"softmax"}


def test_channels():
    graph = residual()
    first, *stay = of(advise(graph), "channels")
    assert first.pays
    # 8 of the residual stream (stem and outer together), 8 of inner.
    assert first.text.startswith("16 channels (tied ones counted once) in 2 sets can go")
    small = tersor.compress.prune_channels(graph, keep=0.5, criterion="l1", refit=False)
    assert f"{small.macs[0] / small.macs[1]:.0%} of the MACs" in first.text
    assert f"{small.parameters[0] / small.parameters[1]:.0%} of the parameters" in first.text
    assert [(f.layers, f.text) for f in stay] == [
        (("fc",), "all channels stay: the network returns them")
    ]


def test_devices_that_are_not_this_one_are_modelled():
    graph = residual()
    host = Target.load("cloud" if Target.load("cloud").runs_here() else "edge")
    other = Target.load("edge" if host.name == "cloud" else "cloud")
    assert all(f.source == "table" for f in of(advise(graph, host), "sparsity"))
    far = advise(graph, other)
    assert far.target == other.name
    assert all(f.source == "modelled" for f in of(far, "sparsity"))
    times = next(f for f in far.findings if "for a sample" in f.text)
    assert times.source == "modelled"
    assert times.pays
    chip = advise(graph, "mcu")
    assert not any(f.pays for f in of(chip, "sparsity"))
    assert {layer.why_not for layer in chip.layers} == {"there is no sparse kernel for armv7e-m"}
    (only,) = of(advise(graph, replace(other, formats=("fp32",))), "int8")
    assert not only.pays
    assert "does not compute in int8" in only.text


def test_slow_kernels_are_named():
    b = Builder()
    x = b.conv(b.input((4, 8, 8)), 4, name="conv")
    x = b.node("pow", x, b.constant("p", np.float32(2)), name="power")
    (kernels,) = of(advise(b.done(x)), "kernels")
    slow = [
        row.node
        for row in tersor.Session(b.graph).profile(np.zeros((1, 4, 8, 8), np.float32))
        if row.kernel.startswith("reference")
    ]
    assert list(kernels.layers) == slow
    assert kernels.pays == (not slow)
    assert kernels.source == "measured"


def test_compressed_networks():
    graph = residual()
    pruned = tersor.compress.prune(graph, images(), 0.75, structure="1x4").graph
    advice = advise(tersor.compress(pruned, recipe="int8", calibration=images()))
    assert not any(f.pays for f in of(advice, "int8") + of(advice, "channels"))
    layers = {layer.name: layer for layer in advice.layers}
    assert {layer.dtype for layer in advice.layers} == {"int8"}
    w = np.asarray(pruned.edge("inner.weight").constant)
    empty = 1 - w.reshape(8, 2, 4, 9).any(axis=2).mean()
    assert layers["inner"].sparsity == pytest.approx(empty)
    assert layers["inner"].pays_from == layers["inner"].pays_from_int8
    assert any("empty 1x4 blocks" in f.text for f in of(advice, "sparsity"))
    low = advise(tersor.compress(graph, recipe="w4a32", calibration=images()))
    plain = advise(graph)
    assert [layer.pays_from for layer in low.layers] == [layer.pays_from for layer in plain.layers]


def test_what_it_shows():
    advice = advise(residual(), "edge")
    document = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert document["target"] == "edge"
    assert [layer["name"] for layer in document["layers"]] == ["stem", "inner", "outer", "fc"]
    text = str(advice)
    assert "what would pay on edge" in text
    assert f"break-even table {advice.break_even_version}" in text
    assert "modelled" in text
    html = advice._repr_html_()
    assert html.startswith("<pre>")
    assert "Winograd" in html
    assert repr(advice).startswith("Advice('edge': ")


def test_a_network_without_weights():
    b = Builder()
    advice = advise(b.done(b.node("relu", b.input((4,)), name="relu")))
    assert advice.layers == ()
    assert [f.topic for f in advice.findings if f.pays] == ["kernels"]


def test_errors():
    with pytest.raises(TypeError, match=r"model must be a tersor.Graph or a compressed model"):
        advise("resnet")
    with pytest.raises(ValueError, match="unknown target 'egde'"):
        advise(residual(), "egde")
