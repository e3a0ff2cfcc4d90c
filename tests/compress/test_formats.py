"""Every recipe on small networks: close, small, the same from a file, for any batch and threads."""

import numpy as np
import pytest

import tersor
from tersor.compress import LayerFormat, Recipe
from tests import datasets
from tests.compress.networks import decibels, images, random, residual
from tests.compress.test_accuracy import calibration, every, normalised, top1

# Least signal-to-noise ratio of the outputs, and most bits of a weight of the convolutions.
RECIPES = {
    "int8": (25, 9),
    "int8-dynamic": (25, 9),
    "fp16": (60, 16),
    "bf16": (35, 16),
    "w8a32": (35, 9),
    "w4a32": (13, 5),
    "w3a32": (6, 4),
    "w4a8": (8, 5),
}


def transformer(width=32, tokens=12):
    """A block of attention and a perceptron, as transformers have it; input (N, tokens, width)."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, tokens, width))

    def dense(x, outputs, name, **attributes):
        inputs = graph.edge(x).shape[-1]
        w = random((outputs, inputs), len(name)) / np.float32(inputs**0.5)
        ids = [x, graph.add_constant(f"{name}.weight", w)]
        return graph.add_node(
            "dense",
            [*ids, graph.add_constant(f"{name}.bias", random(outputs, 1))],
            attributes,
            name,
        )

    q, k, v = (dense(x, width, name) for name in ("query", "the_key", "a_value"))
    k = graph.add_node("transpose", [k], {"perm": [0, 2, 1]}, "turned")
    scores = graph.add_node("softmax", [graph.add_node("matmul", [q, k], {}, "scores")], {})
    mixed = dense(graph.add_node("matmul", [scores, v], {}, "mixed"), width, "projection")
    x = graph.add_node("add", [x, mixed], {}, "first")
    inner = dense(x, 4 * width, "expansion", activation="relu")
    graph.set_outputs([graph.add_node("add", [x, dense(inner, width, "reduction")], {}, "second")])
    graph.verify()
    return graph


@pytest.fixture(scope="module")
def graph():
    return residual()


def outputs(model, x, **options):
    return tersor.Session(model, precision=getattr(model, "precision", "fp32"), **options)(x)


@pytest.mark.parametrize("name", RECIPES)
def test_close_small_and_the_same_from_a_file(graph, name, tmp_path, recwarn):
    least_db, most_bits = RECIPES[name]
    x = images()
    model = tersor.compress(graph, recipe=name, calibration=x)
    recwarn.clear()  # 4-bit weights without repair may warn
    assert decibels(outputs(graph, x), outputs(model, x)) > least_db
    path = tmp_path / "model.tersor"
    model.save(path)
    back = tersor.load(path)
    assert back.recipe == model.recipe
    assert back.content_hash == model.content_hash
    np.testing.assert_array_equal(outputs(back, x), outputs(model, x))
    weights = [e for e in model.graph.edges if e.is_constant and len(e.shape) == 4]
    streams = {
        (s["edge"], s["part"]): s["length"] for s in tersor.artifact.inspect(path)["streams"]
    }
    for edge in weights:
        stored = sum(length for (e, _), length in streams.items() if e == edge.name)
        # scales of 8 outputs are a large part of a small weight
        assert 8 * stored / np.prod(edge.shape) <= most_bits + 16 / 27


@pytest.mark.parametrize("name", RECIPES)
def test_rows_and_threads_change_nothing(graph, name, recwarn):
    x = images(7)
    model = tersor.compress(graph, recipe=name, calibration=images())
    recwarn.clear()
    whole = outputs(model, x)
    np.testing.assert_array_equal(outputs(model, x, threads=2), whole)
    np.testing.assert_allclose(outputs(model, x[3:4])[0], whole[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_instruction_sets_agree(graph, name, isa, recwarn):
    x = images(3)
    model = tersor.compress(graph, recipe=name, calibration=images())
    recwarn.clear()
    got = outputs(model, x, provider="native")
    reference = outputs(model, x, provider="reference")
    assert decibels(reference, got) > 40


def test_a_transformer_with_dynamic_int8():
    graph = transformer()
    x = random((16, 12, 32), 0)
    model = tersor.compress(graph, recipe="int8-dynamic")
    dynamic = [n.name for n in model.graph.nodes if n.attributes.get("dynamic")]
    assert len(dynamic) == 6
    assert decibels(outputs(graph, x), outputs(model, x)) > 25
    profile = tersor.Session(model).profile(x[:1])
    assert sum("dense_dynamic" in layer.kernel for layer in profile) == 6
    np.testing.assert_array_equal(outputs(model, x[5:6])[0], outputs(model, x)[5])


def test_dynamic_leaves_convolutions_to_weights_only(graph):
    model = tersor.compress(graph, recipe="int8-dynamic")
    edges = model.graph.edges
    for node in model.graph.nodes:
        if node.op == "conv":
            assert edges[node.inputs[1]].dtype == "int8"
            assert edges[node.inputs[0]].dtype == edges[node.outputs[0]].dtype == "float32"


def test_a_mixture_in_a_float_network(graph):
    recipe = Recipe.from_yaml(
        """
        values: w4a32
        group_size: 16
        layers:
          stem: int8
          inner: {values: w4a32, bits: 5, group_size: 0, float_zero_point: true}
          fc.weight: fp16
        """
    )
    model = tersor.compress(graph, recipe=recipe, calibration=images())
    edge, node = model.graph.edge, {n.name: n for n in model.graph.nodes}
    assert edge(node["stem"].outputs[0]).dtype == "int8"
    inner = edge("inner.weight").qparams
    assert (inner.bits, inner.group_size, inner.zero_point_float is not None) == (5, 0, True)
    assert edge(node["inner"].outputs[0]).dtype == "float32"
    assert edge("outer.weight").qparams.group_size == 16
    assert edge("fc.weight").dtype == "float16"
    text = str(model)
    for words in ("int5 per channel float zero points", "int4 group 16", "float16"):
        assert words in text
    assert "bits a quantized weight" in text


def test_a_mixture_in_an_int8_network(graph, recwarn):
    recipe = Recipe(layers={"inner": "w4a8", "fc": LayerFormat("w4a32", group_size=8)})
    model = tersor.compress(graph, recipe=recipe, calibration=images())
    recwarn.clear()
    edge, node = model.graph.edge, {n.name: n for n in model.graph.nodes}
    assert edge("inner.weight").qparams.bits == 4
    assert edge(node["inner"].outputs[0]).dtype == "int8"
    assert abs(edge("inner.weight").constant).max() == 7
    assert edge("stem.weight").qparams.bits == 8
    assert edge("fc.weight").qparams.group_size == 8
    assert edge(node["fc"].outputs[0]).dtype == "float32"


def test_mistakes(graph):
    with pytest.raises(ValueError, match="pattern must match a layer, got 'stam'"):
        tersor.compress(graph, recipe={"values": "w4a32", "layers": {"stam": "fp32"}})
    with pytest.raises(ValueError, match="calibration must be given for recipe 'w4a8'"):
        tersor.compress(graph, recipe="w4a8")
    model = tersor.compress(graph, recipe="w4a32")
    with pytest.raises(ValueError, match=r"quantized already .*: use recipe='keep'"):
        tersor.compress(model.graph, recipe="w8a32")
    kept = tersor.compress(model.graph, recipe="keep")
    np.testing.assert_array_equal(outputs(kept, images(2)), outputs(model, images(2)))


def test_patterns_match_modules_of_the_source():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 4))
    for path in ("features.0.0", "classifier"):
        w = graph.add_constant(f"{path}.weight", random((4, 4), 0), f"{path}.weight")
        x = graph.add_node("dense", [x, w], {}, "node_linear", "linear")
    graph.set_outputs([x])
    names = tersor.compress.layer_names(graph)
    assert next(iter(names.values())) == [
        "node_linear", "linear", "features.0.0.weight", "features.0.0"
    ]  # fmt: skip
    for pattern, hit in (("classifier", 1), ("features.0.0", 0), ("features.*", 0)):
        model = tersor.compress(graph, recipe={"values": "w8a32", "layers": {pattern: "fp32"}})
        types = [model.graph.edges[n.inputs[1]].dtype for n in model.graph.nodes]
        assert types == ["int8" if i != hit else "float32" for i in (0, 1)]
    with pytest.raises(ValueError, match="got 'features'; close names: ") as caught:
        tersor.compress(graph, recipe={"values": "w8a32", "layers": {"features": "fp32"}})
    assert "'features.0.0'" in str(caught.value)
    assert "tersor.compress.layer_names(graph) lists all" in str(caught.value)
    samples = random((32, 4), 1)
    model = tersor.compress(graph, recipe={"layers": {"classifier": "fp32"}}, calibration=samples)
    assert "the recipe says so (classifier)" in model.notes["float_layers"].values()
    with pytest.raises(ValueError, match="got 'clasifier'; close names: 'classifier'"):
        tersor.compress(graph, recipe={"layers": {"clasifier": "fp32"}}, calibration=samples)


def test_a_weight_that_two_dynamic_layers_share():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 8))
    w = graph.add_constant("w", random((8, 8), 0))
    for name in ("one", "two"):
        x = graph.add_node("dense", [x, w], {}, name)
    graph.set_outputs([x])
    model = tersor.compress(graph, recipe="int8-dynamic")
    assert [n.attributes["dynamic"] for n in model.graph.nodes] == [1, 1]


def test_tables_print_as_tables(graph, recwarn):
    model = tersor.compress(graph, recipe="w8a32")
    summary = model.summary()
    assert str(summary) == str(model)
    for table in (summary, graph.summary(), tersor.Session(graph).profile(images(1)).table()):
        assert "stem" in str(table)
        assert "object at" not in str(table)
        assert "\x1b" not in str(table)
        assert table._repr_html_().startswith("<pre>")
        assert "stem" in table._repr_html_()


def test_what_stays_in_float_is_noted():
    graph = residual()
    w = np.array(graph.edge("fc.weight").constant)
    w[0, 0] = np.inf
    graph.set_constant("fc.weight", w)
    model = tersor.compress(graph, recipe="w4a32")
    assert model.notes["float_layers"] == {"fc": "its weight is not finite"}


@pytest.fixture(scope="module")
def resnet20():
    return tersor.load(datasets.find("models/resnet20-cifar10.onnx"))


def test_resnet20_of_four_bits_takes_four_and_a_half(resnet20, cifar10_test):
    model = tersor.compress(resnet20, recipe="w4a32")
    weights = [e for e in model.graph.edges if e.is_constant and len(e.shape) > 1]
    count = sum(np.prod(e.shape) for e in weights)
    data = tersor.artifact.encode(model.graph, profile=None)
    streams = tersor._core.artifact.inspect(data)["streams"]
    names = {e.name for e in weights}
    bits = 8 * sum(s["length"] for s in streams if s["edge"] in names) / count
    # The last groups of 27 and 144 are short; a weight with many zeros is stored as a sparse one.
    assert 4.45 <= bits <= 4.56
    assert len(data) <= count * bits / 8 + 12_000
    images = every(cifar10_test, 20)
    wanted = top1(resnet20, images, normalised)
    assert top1(model, images, normalised) >= wanted - 3


@pytest.mark.parametrize("recipe", ["fp16", "w8a32", "int8-dynamic"])
def test_resnet20_loses_nothing_to_wide_weights(resnet20, cifar10_test, recipe):
    images = every(cifar10_test, 20)
    model = tersor.compress(resnet20, recipe=recipe)
    assert top1(model, images, normalised) >= top1(resnet20, images, normalised) - 0.6


def test_resnet20_w4a8_is_packed(resnet20, recwarn):
    model = tersor.compress(resnet20, recipe="w4a8", calibration=normalised(calibration(0)))
    recwarn.clear()
    assert model.nbytes <= 160_000


def one_dense(weight, bias):
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 8))
    w = graph.add_constant("w", np.asarray(weight, np.float32))
    b = graph.add_constant("b", np.asarray(bias, np.float32))
    graph.set_outputs([graph.add_node("dense", [x, w, b], {}, "layer")])
    return graph, np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)


@pytest.mark.parametrize("size", [1e6, 1e-8])
def test_weights_outside_float16_stay_float32(size):
    graph, x = one_dense(size * np.random.default_rng(1).normal(size=(8, 8)), np.zeros(8))
    model = tersor.compress(graph, recipe="fp16")
    np.testing.assert_array_equal(tersor.Session(model)(x), tersor.Session(graph)(x))
    assert "float16" in model.notes["float_layers"]["layer"]


def test_low_bits_beside_a_huge_bias():
    graph, x = one_dense(1e-4 * np.random.default_rng(1).normal(size=(8, 8)), np.full(8, 1e5))
    y = tersor.Session(tersor.compress(graph, recipe="w4a8", calibration=x))(x)
    np.testing.assert_allclose(y, tersor.Session(graph)(x), rtol=0.02)
