"""Recipes on levels (codebooks, rate-distortion): what they promise of networks and of files."""

import numpy as np
import pytest

import tersor
from tersor.compress import LayerFormat, Pruning, Recipe, compress, rate_curve
from tests.compress import networks
from tests.networks import Builder

CALIBRATION = networks.images(128)
LAYERS = ("stem", "inner", "outer", "fc")


def weight_of(graph, name):
    node = next(n for n in graph.nodes if n.name == name)
    return graph.edges[node.inputs[1]]


def values_of(graph, name):
    edge = weight_of(graph, name)
    codes = np.asarray(edge.constant)
    return codes if edge.qparams is None else tersor.quantization.dequantize(codes, edge.qparams)


def noise_db(graph, model):
    x = networks.images(64, 1)
    return networks.decibels(tersor.Session(graph)(x), tersor.Session(model)(x))


@pytest.mark.parametrize(("recipe", "k", "least_db"), [("codebook4", 16, 20), ("codebook2", 4, 4)])
@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.filterwarnings("ignore:compress. the")
def test_codebooks_have_k_values_for_each_layer(recipe, k, least_db, samples, tmp_path):
    graph = networks.residual()
    model = compress(graph, recipe=recipe, calibration=CALIBRATION if samples else None)
    model.save(tmp_path / "m.tersor")
    back = tersor.load(tmp_path / "m.tersor")
    for name in LAYERS:
        edge = weight_of(back.graph, name)
        assert edge.qparams.codebook.shape[1] <= k
        assert edge.qparams == weight_of(model.graph, name).qparams
        np.testing.assert_array_equal(edge.constant, weight_of(model.graph, name).constant)
        if len(edge.qparams.scale) == 1:
            assert len(np.unique(values_of(back.graph, name))) <= k
    x = networks.images(8, 2)
    np.testing.assert_array_equal(tersor.Session(back)(x), tersor.Session(model)(x))
    assert noise_db(graph, model) > least_db
    assert back.recipe == model.recipe
    assert "codebook" in str(model)


def test_codebooks_of_int8_codes_run_in_int8(tmp_path):
    graph = networks.residual()
    model = compress(graph, recipe="codebook4a8", calibration=CALIBRATION)
    model.save(tmp_path / "m.tersor")
    back = tersor.load(tmp_path / "m.tersor")
    for name in LAYERS:
        edge = weight_of(back.graph, name)
        table = edge.qparams.codebook
        assert table.shape[1] <= 16
        assert np.abs(table).max() == 127
        np.testing.assert_array_equal(table, np.rint(table))
        assert len(edge.qparams.scale) == edge.shape[0]
        node = next(n for n in back.graph.nodes if n.name == name)
        assert back.graph.edges[node.inputs[0]].dtype == "int8"
    x = networks.images(8, 2)
    y = tersor.simulate(back, x)
    np.testing.assert_array_equal(y, tersor.simulate(model, x))
    assert noise_db(graph, model) > 20


def test_int8_codebooks_of_hard_layers(tmp_path):
    """One output, all zeros, biases that need wide scales, and a layer that stays 8 bits."""
    b = Builder(0)
    x = b.conv(b.input((4, 8, 8)), 6, name="wide")
    x = b.conv(x, 6, name="zero")
    x = b.conv(x, 1, name="one")
    graph = b.done(b.conv(x, 5, name="last"))
    weights = {n.name: n.inputs for n in graph.nodes}
    graph.set_constant(weights["zero"][1], np.zeros((6, 6, 3, 3), np.float32))
    graph.set_constant(weights["wide"][2], np.float32([1e6, -1e6, 0, 1, 2, 3]))
    samples = np.random.default_rng(0).normal(size=(64, 4, 8, 8)).astype(np.float32)
    recipe = Recipe("codebook4a8", layers={"last": "int8"}, equalize=False)
    model = compress(graph, recipe=recipe, calibration=samples)
    assert [weight_of(model.graph, n).qparams.codebook is None for n in weights] == [False] * 3 + [
        True
    ]
    assert not np.any(values_of(model.graph, "zero"))
    model.save(tmp_path / "m.tersor")
    y = tersor.simulate(tersor.load(tmp_path / "m.tersor"), samples)
    np.testing.assert_array_equal(y, tersor.simulate(model, samples))


def test_samples_help():
    graph = networks.residual()
    blind = compress(graph, recipe="codebook4")
    seeing = compress(graph, recipe="codebook4", calibration=CALIBRATION)
    assert noise_db(graph, seeing) > noise_db(graph, blind) + 2


@pytest.mark.filterwarnings("ignore:compress. the")
def test_deep_compression_keeps_sparsity_and_clusters(tmp_path):
    graph = networks.residual()
    model = compress(graph, recipe="deep-compression", calibration=CALIBRATION)
    assert model.recipe.pruning == Pruning(0.75)
    model.save(tmp_path / "m.tersor")
    back = tersor.load(tmp_path / "m.tersor")
    zeros = weights = 0
    for name in LAYERS:
        before, after = values_of(model.graph, name), values_of(back.graph, name)
        np.testing.assert_array_equal(before, after)
        assert len(np.unique(after)) <= 16 or len(weight_of(back.graph, name).qparams.scale) > 1
        zeros += int((after == 0).sum())
        weights += after.size
    assert zeros / weights == pytest.approx(0.75, abs=0.02)
    decoded = back.graph.clone()
    assert decoded.decode_codebooks() == len(LAYERS)
    assert sum(int((values_of(decoded, n) == 0).sum()) for n in LAYERS) == zeros


@pytest.mark.parametrize("bits", [2.0, 3.0])
@pytest.mark.filterwarnings("ignore:compress. the")
def test_rate_distortion_spends_the_bits(bits):
    graph = networks.residual()
    recipe = Recipe("rate-distortion", bits_per_weight=bits)
    model = compress(graph, recipe=recipe, calibration=CALIBRATION)
    weights = sum(values_of(model.graph, name).size for name in LAYERS)
    assert 0.9 * bits * weights / 8 < model.notes["code_bytes"] <= 1.01 * bits * weights / 8
    for name in LAYERS:
        edge = weight_of(model.graph, name)
        assert (edge.dtype, edge.qparams.codebook) == ("int8", None)
        assert np.abs(np.asarray(edge.constant, int)).max() <= edge.qparams.code_max
    assert (
        compress(graph, recipe=recipe, calibration=CALIBRATION).content_hash == model.content_hash
    )


@pytest.mark.filterwarnings("ignore:compress. the")
def test_a_price_and_layers_of_other_formats():
    graph = networks.residual()
    recipe = Recipe("rate-distortion", price=1e-5, layers={"stem": "fp32", "fc": "codebook4"})
    model = compress(graph, recipe=recipe, calibration=CALIBRATION)
    assert weight_of(model.graph, "stem").dtype == "float32"
    assert weight_of(model.graph, "fc").qparams.codebook is not None
    assert weight_of(model.graph, "inner").qparams.codebook is None
    dear = compress(
        graph,
        recipe=Recipe("rate-distortion", price=1e-3, layers=dict(recipe.layers)),
        calibration=CALIBRATION,
    )
    assert dear.notes["code_bytes"] < model.notes["code_bytes"]
    assert noise_db(graph, dear) < noise_db(graph, model)


@pytest.mark.filterwarnings("ignore:compress. the")
def test_a_budget_of_size_is_filled():
    graph = networks.residual()
    small = compress(
        graph, recipe=Recipe("rate-distortion", bits_per_weight=3.0), calibration=CALIBRATION
    )
    size = int(small.nbytes * 1.05)
    model = compress(
        graph, recipe="rate-distortion", budget={"size": size}, calibration=CALIBRATION
    )
    assert model.nbytes <= size
    assert model.recipe.bits_per_weight is not None
    with pytest.raises(tersor.BudgetError, match="size"):
        compress(graph, recipe="rate-distortion", budget={"size": 100}, calibration=CALIBRATION)


@pytest.mark.filterwarnings("ignore:compress. the")
def test_rate_curve():
    graph = networks.residual()
    x = networks.images(64, 1)
    labels = tersor.Session(graph)(x).argmax(1)
    curve = rate_curve(graph, CALIBRATION, bits_per_weight=[2, 4], evaluate=(x, labels))
    assert curve.accuracy == 1
    two, four = curve.points
    assert two.code_bytes < four.code_bytes
    assert two.accuracy <= four.accuracy
    assert noise_db(graph, curve.models[0]) < noise_db(graph, curve.models[1])
    assert curve.to_dict()["points"][0]["bits_per_weight"] == 2
    alone = compress(
        graph, recipe=Recipe("rate-distortion", bits_per_weight=4.0), calibration=CALIBRATION
    )
    assert alone.content_hash == curve.models[1].content_hash
    with pytest.raises(ValueError, match="recipe must have rate-distortion layers, got 'int8'"):
        rate_curve(graph, CALIBRATION, recipe="int8")
    with pytest.raises(ValueError, match="must name at least one point"):
        rate_curve(graph, CALIBRATION, bits_per_weight=[])


def test_depthwise_layers_share_a_table_and_have_their_own_scales():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 8, 6, 6))
    w = networks.random((8, 1, 3, 3), 3) * 4.0 ** np.arange(-4, 4).reshape(8, 1, 1, 1)
    parts = [x, graph.add_constant("w", w.astype(np.float32))]
    graph.set_outputs([graph.add_node("conv", parts, {"groups": 8, "pads": [1] * 4}, "conv")])
    samples = networks.random((96, 8, 6, 6), 4)
    model = compress(graph, recipe="codebook4", calibration=samples)
    q = weight_of(model.graph, "conv").qparams
    assert (q.axis, len(q.scale), q.codebook.shape) == (0, 8, (1, 16))
    rated = compress(
        graph, recipe=Recipe("rate-distortion", bits_per_weight=4.0), calibration=samples
    )
    assert len(weight_of(rated.graph, "conv").qparams.scale) == 8
    fresh = networks.random((16, 8, 6, 6), 5)
    for made in (model, rated):
        error = tersor.Session(made)(fresh) - tersor.Session(graph)(fresh)
        assert np.square(error).sum() < 0.02 * np.square(tersor.Session(graph)(fresh)).sum()


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"values": "int8", "bits_per_weight": 3}, ValueError, "is for rate-distortion layers"),
        ({"values": "rate-distortion", "bits_per_weight": 9}, ValueError, r"in \(0, 8\], got 9"),
        ({"values": "rate-distortion", "price": 0}, ValueError, r"in \(0, inf\], got 0"),
        ({"values": "rate-distortion", "price": "x"}, TypeError, "price must be a number"),
        ({"values": "rate-distortion", "price": 1, "bits_per_weight": 2}, ValueError, "got both"),
        ({"values": "rate-distortion", "rounding": "nearest"}, ValueError, "must be gptq"),
        ({"values": "rate-distortion", "bits": 4}, ValueError, "'rate-distortion' must be 8"),
        ({"values": "codebook4", "bits": 9}, ValueError, r"bits must be in \[1, 8\], got 9"),
        ({"values": "codebook4", "group_size": 32}, ValueError, "group_size is for weights"),
        (
            {"values": "codebook4a8", "rounding": "nearest"},
            ValueError,
            "rounding of 'codebook4a8' must be gptq",
        ),
    ],
)
def test_mistakes(given, error, text):
    with pytest.raises(error, match=text):
        Recipe(**given)


def test_what_needs_samples_says_so():
    with pytest.raises(ValueError, match="calibration must be given for recipe 'rate-distortion'"):
        compress(networks.residual(), recipe="rate-distortion")
    assert LayerFormat("codebook2", bits=1).bits == 1
    assert Recipe.parse("deep-compression").to_dict()["pruning"] == {"sparsity": 0.75}


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.filterwarnings("ignore:compress. the")
def test_exports_keep_zeros_and_the_number_of_values(suffix, tmp_path):
    pytest.importorskip("onnx" if suffix == "onnx" else "flatbuffers")
    model = compress(networks.residual(), recipe="deep-compression", calibration=CALIBRATION)
    done = model.export(tmp_path / f"m.{suffix}")
    assert set(done.decoded) == set(LAYERS)
    assert "float32 weights instead of codes of" in done.decoded["stem"]
    if suffix != "onnx":
        return
    back = tersor.load(tmp_path / "m.onnx")
    for name in LAYERS:
        np.testing.assert_array_equal(values_of(back, name), values_of(model.graph, name))
    x = networks.images(8, 3)
    np.testing.assert_allclose(
        tersor.Session(back)(x), tersor.Session(model)(x), rtol=1e-5, atol=1e-5
    )
