"""Second-order rounding of whole networks: recipes of low-bit weights."""

import numpy as np
import pytest

import tersor
from tersor.compress.repair import WeightGrid, repair_weights
from tests.compress.networks import decibels, images, residual
from tests.networks import Builder, residual_network

# Networks of random weights have no sure classes.
pytestmark = pytest.mark.filterwarnings("ignore:compress. the quantized network differs")


def outputs(model, x):
    return tersor.Session(model)(x)


@pytest.fixture(scope="module")
def graph():
    return residual_network()


@pytest.fixture(scope="module")
def samples():
    # Neighbouring pixels of images resemble each other; GPTQ lives on that.
    x = np.random.default_rng(0).normal(size=(192, 3, 10, 10)).astype(np.float32)
    return np.ascontiguousarray(x[:, :, 1:-1, 1:-1] + x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1])


@pytest.mark.parametrize(
    "recipe",
    [
        {"values": "w4a32"},
        {"values": "w3a32"},
        {"values": "w4a32", "group_size": 0},
        {"values": "w4a8"},
        {"values": "w4a32", "layers": {"stem": "fp32", "logits": "w8a32"}},
        {"values": "int8", "layers": {"a2": "w4a8", "b1": "w3a32"}},
    ],
)
def test_gptq_is_closer_than_nearest(graph, samples, recipe):
    x, held_out = samples[:128], samples[128:]
    wanted = outputs(graph, held_out)
    db = {}
    for rounding in ("nearest", "gptq"):
        model = tersor.compress(graph, recipe={**recipe, "rounding": rounding}, calibration=x)
        db[rounding] = decibels(wanted, outputs(model, held_out))
        assert model.notes.get("samples") == 128 or rounding == "nearest"
    assert db["gptq"] > db["nearest"] + (0.5 if "layers" in recipe else 2)


def test_gptq_is_the_default_where_samples_are_given(graph, samples):
    given = {"values": "w4a32"}
    hashes = [
        tersor.compress(graph, recipe=given | more, calibration=x).graph.edge("a1.weight").constant
        for more, x in (
            ({}, samples),
            ({"rounding": "gptq"}, samples),
            ({}, None),
            ({"rounding": "nearest"}, samples),
        )
    ]
    np.testing.assert_array_equal(hashes[0], hashes[1])
    np.testing.assert_array_equal(hashes[2], hashes[3])
    assert (hashes[0] != hashes[2]).any()
    with pytest.raises(ValueError, match="calibration must be given for rounding 'gptq'"):
        tersor.compress(graph, recipe=given | {"rounding": "gptq"})
    with pytest.raises(ValueError, match="recipe rounding must be gptq or nearest, got 'gtpq'"):
        tersor.compress(graph, recipe={"rounding": "gtpq"})


def test_the_file_keeps_codes_and_scales(graph, samples, tmp_path):
    model = tersor.compress(graph, recipe="w4a32", calibration=samples)
    model.save(tmp_path / "m.tersor")
    again = tersor.load(tmp_path / "m.tersor")
    np.testing.assert_array_equal(outputs(again, samples[:4]), outputs(model, samples[:4]))
    assert again.recipe == model.recipe
    for edge in model.graph.edges:
        if edge.is_constant and edge.qparams is not None:
            scale = np.asarray(edge.qparams.scale)
            np.testing.assert_array_equal(scale, scale.astype(np.float16))
            assert edge.qparams.bits == 4


@pytest.mark.parametrize("values", ["w4a32", "w4a8"])
def test_threads_and_runs_give_the_same_content(graph, samples, values):
    hashes = set()
    for threads in (1, 2, 1):
        tersor.set_threads(threads)
        batches = (samples[i : i + 40] for i in range(0, 120, 40))
        hashes.add(tersor.compress(graph, recipe=values, calibration=batches).content_hash)
    tersor.set_threads(0)
    assert len(hashes) == 1


def everything():
    """Depthwise, grouped, without bias, in one dimension, shared weights, transposed."""
    b = Builder(1)
    x = b.conv(b.input((4, 12)), 8, name="line", activation="relu")
    y = b.conv(x, 8, groups=8, name="depthwise", activation="relu")
    y = b.conv(y, 8, groups=2, dilations=[2], pads=[2, 2], name="grouped")
    y = b.node("add", x, y, name="sum")
    w = b.constant("bare.weight", b.floats(6, 8, 3, scale=0.3))
    y = b.node("conv", y, w, name="bare", strides=[2])
    shared = b.constant("shared.weight", b.floats(6, 6, 1))
    y = b.node("conv", b.node("conv", y, shared, name="s1"), shared, name="s2")
    up = b.constant("up.weight", b.floats(6, 5, 2))
    y = b.node("conv_transpose", y, up, name="up", strides=[2])
    y = b.node("reduce_mean", y, name="mean", axes=[2], keepdims=0)
    return b.done(b.dense(y, 3, name="fc"))


def test_layers_of_every_kind():
    graph = everything()
    x = np.random.default_rng(0).normal(size=(256, 4, 12)).astype(np.float32)
    plain = graph.clone()
    plain.canonicalize()
    names = [n.name for n in plain.nodes if n.op in ("conv", "dense", "conv_transpose")]
    done = repair_weights(plain, {n: WeightGrid(3, 8) for n in names}, [[x[:128]], [x[128:]]])
    assert set(done) == {"line", "depthwise", "grouped", "bare", "fc"}
    assert done["bare"].bias is None
    for name, layer in done.items():
        assert layer.error <= layer.nearest_error * 1.01, name
    model = tersor.compress(graph, recipe={"values": "w3a32", "group_size": 8}, calibration=x)
    nearest = tersor.compress(graph, recipe={"values": "w3a32", "group_size": 8})
    wanted = outputs(graph, x)
    assert decibels(wanted, outputs(model, x)) > decibels(wanted, outputs(nearest, x))


def test_an_earlier_error_is_made_good():
    graph, x = residual(), images(128)
    plain = graph.clone()
    plain.canonicalize()
    coarse = {"stem": WeightGrid(2), "inner": WeightGrid(8), "outer": WeightGrid(8)}
    done = repair_weights(plain, coarse, [[x]])
    follows = plain.clone()
    for node in plain.nodes:
        if node.name in done:
            follows.set_constant(node.inputs[1], done[node.name].values)
            follows.set_constant(node.inputs[2], done[node.name].bias)
    alone = plain.clone()
    stem = next(n for n in plain.nodes if n.name == "stem")
    alone.set_constant(stem.inputs[1], done["stem"].values)
    alone.set_constant(stem.inputs[2], done["stem"].bias)
    wanted = outputs(graph, x)
    assert decibels(wanted, outputs(follows, x)) > decibels(wanted, outputs(alone, x)) + 1


def test_tiny_and_huge_weights_keep_float32_scales():
    x = images(64)
    for factor in (1e-7, 1e7):
        graph = residual()
        weight = graph.edges[graph.nodes[0].inputs[1]]
        graph.set_constant(weight.name, np.float32(np.asarray(weight.constant) * factor))
        model = tersor.compress(graph, recipe="w4a32", calibration=x)
        assert decibels(outputs(graph, x), outputs(model, x)) > 10


def test_progress_counts_layers(graph, samples):
    stages = []
    tersor.compress(
        graph,
        recipe="w4a32",
        calibration=samples[:32],
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )
    assert ("round", 0, 7) in stages
    assert stages[-1] == ("round", 7, 7)


def test_one_scale_for_convolutions(samples):
    model = tersor.compress(
        residual_network(), recipe={"conv_per_channel": False}, calibration=samples
    )
    for node in model.graph.nodes:
        if node.op == "conv":
            assert len(model.graph.edges[node.inputs[1]].qparams.scale) == 1
    assert model.recipe.to_dict()["conv_per_channel"] is False
    assert decibels(outputs(residual_network(), samples), outputs(model, samples)) > 20
