"""Second-order rounding of whole networks: recipes of low-bit weights."""

import copy
import pickle

import numpy as np
import pytest

import tersor
from tersor.compress.absorb import absorb_biases
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


def up_and_matmul(groups=1):
    """A transposed convolution, and a product with a constant matrix."""
    b = Builder(2)
    x = b.conv(b.input((4, 12)), 8, name="line", activation="relu")
    up = b.constant("up.weight", b.floats(8, 6 // groups, 2, scale=0.4))
    bias = b.constant("up.bias", b.floats(6))
    y = b.node("conv_transpose", x, up, bias, name="up", strides=[2], groups=groups)
    y = b.node("reduce_mean", b.node("relu", y), name="mean", axes=[2], keepdims=0)
    return b.done(b.node("matmul", y, b.constant("m.weight", b.floats(6, 10)), name="m"))


def correlated(count, *shape, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
    return np.ascontiguousarray(x + np.roll(x, 1, axis=-1) + 0.5)


@pytest.mark.parametrize("group", [0, 4])
@pytest.mark.parametrize("zero", [False, True])
def test_transposed_convolutions_and_constant_matrices(group, zero):
    graph, x = up_and_matmul(), correlated(192, 4, 12)
    recipe = {"values": "w3a32", "group_size": group, "float_zero_point": zero}
    model = tersor.compress(graph, recipe=recipe, calibration=x[:128])
    # Groups of a transposed convolution run along its inputs, a scale for every kernel position.
    why = {"up": "it is a transposed convolution with groups"} if group else {}
    assert model.notes.get("nearest_layers", {}) == why
    nearest = tersor.compress(
        graph, recipe=recipe | {"rounding": "nearest", "correct_bias": False}, calibration=x[:128]
    )
    wanted = outputs(graph, x[128:])
    assert decibels(wanted, outputs(model, x[128:])) > 1 + decibels(
        wanted, outputs(nearest, x[128:])
    )
    for name in ("up", "m"):
        q, other = (m.graph.edge(f"{name}.weight").qparams for m in (model, nearest))
        assert (q.axis, q.group_size, len(q.scale)) == (other.axis, other.group_size, len(q.scale))
        assert len(q.scale) == len(other.scale)
        assert (q.zero_point_float is None) == (not zero)
    if group:
        assert "rounded to nearest" in " ".join(str(model).split())


def test_grouped_transposed_convolutions_are_rounded_to_nearest_and_say_so(tmp_path):
    graph, x = up_and_matmul(groups=2), correlated(64, 4, 12)
    model = tersor.compress(graph, recipe={"values": "w4a32", "group_size": 0}, calibration=x)
    assert model.notes["nearest_layers"] == {"up": "it is a transposed convolution with groups"}
    model.save(tmp_path / "m.tersor")
    assert tersor.load(tmp_path / "m.tersor").notes == model.notes


@pytest.mark.parametrize("values", ["int8", "w8a32", "int8-dynamic"])
def test_eight_bits_by_gptq_where_it_is_asked_for(samples, values):
    graph, db = residual_network(), {}
    wanted = outputs(graph, samples[128:])
    for rounding in ("nearest", "gptq"):
        model = tersor.compress(
            graph, recipe={"values": values, "rounding": rounding}, calibration=samples[:128]
        )
        db[rounding] = decibels(wanted, outputs(model, samples[128:]))
        dense = next(n for n in model.graph.nodes if n.op == "dense")
        assert bool(dense.attributes.get("dynamic")) == (values == "int8-dynamic")
        if values == "int8":
            assert len(model.graph.edges[dense.inputs[1]].qparams.scale) == 1
    assert db["gptq"] > db["nearest"] + (0.2 if values == "int8" else 2)


def test_one_scale_for_grouped_convolutions_is_rounded_to_nearest():
    graph = everything()
    x = correlated(64, 4, 12)
    recipe = {"values": "int8", "rounding": "gptq", "conv_per_channel": False}
    model = tersor.compress(graph, recipe=recipe, calibration=x)
    reasons = model.notes["nearest_layers"]
    assert reasons["depthwise"] == reasons["grouped"] == "one scale holds for several groups"
    assert reasons["s1"] == "its weight is also used otherwise"
    assert "line" not in reasons


def test_biases_make_good_what_rounding_to_nearest_takes(samples):
    graph = residual_network()
    recipe = {"values": "w3a32", "rounding": "nearest"}
    wanted = outputs(graph, samples[128:])
    got = {}
    for correct in (False, True):
        model = tersor.compress(
            graph, recipe=recipe | {"correct_bias": correct}, calibration=samples[:128]
        )
        got[correct] = outputs(model, samples[128:])
    off = {k: np.abs((y - wanted).mean(axis=0)).mean() for k, y in got.items()}
    assert off[True] < 0.3 * off[False]
    assert decibels(wanted, got[True]) > decibels(wanted, got[False])


def batch_normed(seed=0):
    """Layers with BatchNorm between them, its statistics those of the samples."""
    rng = np.random.default_rng(seed)
    graph = tersor.Graph()
    y = graph.add_input("x", "float32", (None, 3, 8, 8))
    images = correlated(256, 3, 8, 8, seed=seed)
    for i, (inputs, out, groups) in enumerate(((3, 16, 1), (16, 16, 16), (16, 24, 1), (24, 24, 2))):
        w = rng.normal(size=(out, inputs // groups, 3, 3)).astype(np.float32)
        ids = [y, graph.add_constant(f"{i}.weight", w), graph.add_constant(f"{i}.b", random(out))]
        y = graph.add_node("conv", ids, {"pads": [1] * 4, "groups": groups}, f"conv{i}")
        graph.set_outputs([y])
        seen = np.moveaxis(outputs(graph, images), 1, 0).reshape(out, -1)
        norm = [rng.uniform(0.5, 2, out), rng.normal(size=out), seen.mean(1), seen.var(1)]
        constants = [
            graph.add_constant(f"{i}.{k}", np.float32(v))
            for k, v in zip(("gamma", "beta", "mean", "var"), norm, strict=True)
        ]
        y = graph.add_node("batch_norm", [y, *constants], {}, f"norm{i}")
        y = graph.add_node(("relu", "clip", "hard_swish", "relu")[i], [y], CLIP[i], f"act{i}")
    y = graph.add_node("reduce_mean", [y], {"axes": [2, 3], "keepdims": 0}, "mean")
    ids = [
        y,
        graph.add_constant("fc.weight", random((10, 24))),
        graph.add_constant("fc.b", random(10)),
    ]
    graph.set_outputs([graph.add_node("dense", ids, {}, "fc")])
    graph.verify()
    return graph, images


CLIP = ({}, {"min": 0.0, "max": 6.0}, {}, {})


def random(shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def test_means_that_batch_norm_tells():
    graph, images = batch_normed()
    plain = graph.clone()
    plain.canonicalize()
    assert set(plain.input_means) == {"conv1", "conv2", "conv3", "fc"}
    session = tersor.Session(plain)
    for node in plain.nodes:
        if node.name in plain.input_means:
            edge = plain.edges[node.inputs[0]].name
            seen = session.taps(images, edges=[edge])[edge]
            mean = np.moveaxis(seen, 1, 0).reshape(seen.shape[1], -1).mean(axis=1)
            off = np.abs(plain.input_means[node.name] - mean)
            assert off.mean() < 0.08, node.name  # single channels are far from normal
    for twin in (pickle.loads(pickle.dumps(plain)), plain.clone(), copy.deepcopy(plain)):
        assert list(twin.input_means) == list(plain.input_means)
    again = plain.clone()
    again.canonicalize()
    assert list(again.input_means) == list(plain.input_means)


@pytest.mark.parametrize(
    "values", ["w4a32", "w3a32", {"values": "w3a32", "float_zero_point": True}]
)
def test_without_samples_biases_are_repaired_by_batch_norm(values):
    graph, images = batch_normed()
    wanted = outputs(graph, images)
    recipe = values if isinstance(values, dict) else {"values": values}
    off, db = {}, {}
    for correct in (False, True):
        model = tersor.compress(graph, recipe=recipe | {"correct_bias": correct})
        got = outputs(model, images)
        off[correct] = np.abs((got - wanted).mean(axis=0)).mean()
        db[correct] = decibels(wanted, got)
    assert off[True] < 0.6 * off[False]
    assert db[True] > db[False]


def high_biases(padded=False):
    """A ReLU that every value passes in some channels, in front of a layer without padding."""
    b = Builder(3)
    x = b.conv(b.input((3, 8, 8)), 8, name="first", activation="relu")
    x = b.conv(x, 6, kernel=3 if padded else 1, name="second", activation="relu")
    x = b.node("max_pool", x, name="pool", kernel=[2, 2], strides=[2, 2])
    x = b.node("reshape", x, name="flat", shape=[-1, 6 * 16])
    graph = b.done(b.dense(x, 5, name="fc"))
    for name, channels in (("first", [1, 4]), ("second", [0, 5])):
        bias = np.array(graph.edge(f"{name}.bias").constant)
        bias[channels] = 40
        graph.set_constant(f"{name}.bias", bias)
    return graph


@pytest.mark.parametrize("padded", [False, True])
def test_high_biases_are_absorbed_where_that_keeps_the_function(padded):
    graph = high_biases(padded)
    x = correlated(96, 3, 8, 8)
    moved, layers = absorb_biases(graph, x, None, 512, 0)
    assert layers == (["second"] if padded else ["first", "second"])
    np.testing.assert_allclose(outputs(moved, x), outputs(graph, x), rtol=1e-4, atol=2e-3)
    assert np.asarray(moved.edge("second.bias").constant)[0] < 40
    assert np.asarray(graph.edge("second.bias").constant)[0] == 40


def test_absorption_is_an_option_of_int8():
    graph, x = high_biases(), correlated(128, 3, 8, 8)
    wanted, db = outputs(graph, x[64:]), {}
    for absorb in (False, True):
        recipe = {"absorb_bias": absorb, "equalize": False}
        model = tersor.compress(graph, recipe=recipe, calibration=x[:64])
        assert model.notes.get("absorbed_biases", []) == (["first", "second"] if absorb else [])
        db[absorb] = decibels(wanted, outputs(model, x[64:]))
    assert db[True] > db[False] + 1.5


@pytest.mark.parametrize("size", [1e4, 1e6])
def test_scales_of_low_bits_are_wide_enough_for_the_bias(size):
    b = Builder(4)
    graph = b.done(b.dense(b.input((8,)), 8, name="fc"))
    weight = np.float32(1e-4 * np.asarray(graph.edge("fc.weight").constant))
    graph.set_constant("fc.weight", weight)
    graph.set_constant("fc.bias", np.full(8, size, np.float32))
    x = correlated(64, 8)
    model = tersor.compress(graph, recipe="w4a8", calibration=x)
    bias = next(e for e in model.graph.edges if e.dtype == "int32" and e.is_constant)
    assert 0 < np.abs(bias.constant.astype(np.int64)).max() <= 2**30
    np.testing.assert_allclose(outputs(model, x), outputs(graph, x), rtol=0.02)
