"""tersor.compress on small networks: formats, determinism, budgets, files, messages."""

import hashlib
import warnings

import numpy as np
import pytest

import tersor
from tersor.compress import prune_channels
from tests.compress.networks import decibels, images, residual


@pytest.fixture(scope="module")
def graph():
    return residual()


def outputs(model, x):
    return tersor.Session(model, precision=getattr(model, "precision", "fp32"))(x)


def test_int8_is_close_and_small(graph):
    x = images()
    model = tersor.compress(graph, calibration=x)
    assert isinstance(model, tersor.CompressedModel)
    assert model.recipe.name == "int8"
    assert decibels(outputs(graph, x), outputs(model, x)) > 25
    assert model.notes == {"samples": 64, "float_layers": {}}
    constants = [e for e in model.graph.edges if e.is_constant]
    assert {e.dtype for e in constants} == {"int8", "int32"}


def test_fp32_keeps_the_function(graph):
    x = images(4)
    model = tersor.compress(graph, recipe="fp32")
    np.testing.assert_allclose(outputs(model, x), outputs(graph, x), rtol=1e-5, atol=1e-5)


def test_bf16_halves_the_weights(graph):
    x = images()
    model, full = tersor.compress(graph, recipe="bf16"), tersor.compress(graph, recipe="fp32")
    assert model.precision == "bf16"
    weights = [e for e in model.graph.edges if e.is_constant and len(e.shape) > 1]
    assert {e.dtype for e in weights} == {"bfloat16"}
    assert full.nbytes - model.nbytes > 0.4 * sum(2 * np.prod(e.shape) for e in weights)
    assert decibels(outputs(graph, x), outputs(model, x)) > 35
    np.testing.assert_array_equal(
        tersor.Session(model, arithmetic="exact")(x[:2]), tersor.Session(model)(x[:2])
    )


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
@pytest.mark.parametrize(
    "recipe", ["int8", "w4a8", "w4a32", "w8a32", "int8-dynamic", {"pruning": {"sparsity": 0.5}}]
)
def test_weights_stored_narrow_are_values_like_others(graph, storage, recipe):
    narrow = tersor.compress(graph, recipe=storage).graph
    wide = tersor.Graph(narrow.clone())
    wide.widen_constants()
    got, wanted = (tersor.compress(g, recipe=recipe, calibration=images()) for g in (narrow, wide))
    for a, b in zip(got.graph.edges, wanted.graph.edges, strict=True):
        np.testing.assert_array_equal(a.constant, b.constant)


def test_channels_go_from_narrow_weights_too(graph):
    narrow = tersor.compress(graph, recipe="fp16").graph
    small = prune_channels(narrow, images(), keep=0.5)
    assert small.macs[0] < small.macs[1]
    assert decibels(outputs(narrow, images(4)), outputs(small.graph, images(4))) > 0


def test_keep_takes_a_quantized_network_as_it_is(graph):
    x = images()
    int8 = tersor.compress(graph, calibration=x)
    kept = tersor.compress(int8.graph, recipe="keep")
    np.testing.assert_array_equal(outputs(kept, x), outputs(int8, x))
    with pytest.raises(ValueError, match=r"quantized already .*: use recipe='keep'"):
        tersor.compress(int8.graph, calibration=x)


def test_content_does_not_depend_on_threads_or_time(graph):
    x = images(100)
    hashes = set()
    for threads in (1, 2, 1):
        tersor.set_threads(threads)
        hashes.add(tersor.compress(graph, calibration=x, recipe={"samples": 40}).content_hash)
    tersor.set_threads(0)
    assert len(hashes) == 1
    other = tersor.compress(graph, calibration=x, recipe={"samples": 40}, seed=1)
    assert other.content_hash not in hashes


def test_saved_bytes_do_not_depend_on_threads_or_time(graph, tmp_path):
    x = images(40)
    y = outputs(graph, x).argmax(1)
    files = []
    # With a target and labels, latencies and accuracies are measured, which vary.
    for threads in (1, 2, 1, 2):
        tersor.set_threads(threads)
        model = tersor.compress(graph, "cloud", calibration=x, evaluate=(x, y))
        assert model.provenance.keys() == {"seconds", "figures", "on_target", "agreement"}
        model.save(tmp_path / "model.tersor")
        files.append((tmp_path / "model.tersor").read_bytes())
        assert len(files[-1]) == model.nbytes
        assert hashlib.sha256(files[-1]).hexdigest() == model.content_hash
    tersor.set_threads(0)
    assert len(set(files)) == 1


def test_provenance_is_saved_on_request(graph, tmp_path):
    model = tersor.compress(graph, recipe="fp32", evaluate=lambda session: 0.5)
    path = tmp_path / "model.tersor"
    model.save(path)
    assert tersor.load(path).provenance == {}
    model.save(path, provenance=True)
    loaded = tersor.load(path)
    assert loaded.provenance == model.provenance
    assert loaded.content_hash == model.content_hash


def test_int8_outputs_do_not_depend_on_threads(graph):
    x = images(33)
    model = tersor.compress(graph, calibration=x)
    np.testing.assert_array_equal(tersor.Session(model, 1)(x), tersor.Session(model, 2)(x))


def test_equalization_saves_a_network_whose_channels_differ():
    x, plain, uneven = images(), residual(), residual(collapse=True)
    wanted = outputs(plain, x)
    np.testing.assert_allclose(outputs(uneven, x), wanted, rtol=1e-3, atol=1e-3)
    saved = decibels(wanted, outputs(tersor.compress(uneven, calibration=x), x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recipe = {"equalize": False, "correct_bias": False}
        lost = decibels(wanted, outputs(tersor.compress(uneven, calibration=x, recipe=recipe), x))
    assert saved > 25
    assert saved > lost + 5


def test_a_network_that_does_not_survive_is_reported():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 4))
    # 1e4 times as large as what matters: int8 keeps the large part only.
    w = np.array([[1e4, 0, 0, 0], [1e4, 1, 0, 0]], np.float32)
    h = graph.add_node("dense", [x, graph.add_constant("w", w)], {}, "first")
    v = graph.add_constant("v", np.array([[-1, 1]], np.float32))
    graph.set_outputs([graph.add_node("dense", [h, v], {}, "second")])
    samples = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    with pytest.warns(
        UserWarning, match=r"quantized network differs .* most is lost at .*(first|second)"
    ):
        tersor.compress(graph, calibration=samples)


def test_layers_of_the_recipe_stay_in_float(graph):
    model = tersor.compress(graph, calibration=images(), recipe={"layers": {"inner": "fp32"}})
    assert model.notes["float_layers"] == {"inner": "the recipe says so (inner)"}
    assert "the recipe says so" in str(model)
    with pytest.raises(ValueError, match="pattern must match a layer, got 'layer9'"):
        tersor.compress(graph, calibration=images(), recipe={"layers": {"layer9": "fp32"}})


def test_lineage_and_provenance(graph):
    model = tersor.compress(graph, "edge", calibration=images(), seed=3)
    assert model.lineage == {
        "parent": tersor.artifact.content_hash(graph),
        "tersor": tersor.__version__,
        "seed": 3,
        "target": "edge",
    }
    assert model.provenance["seconds"] > 0


def test_save_and_load(graph, tmp_path):
    x = images()
    prepare = {"scale": 0.5, "layout": "NCHW"}
    model = tersor.compress(graph, calibration=x, preprocess=prepare)
    path = tmp_path / "model.tersor"
    model.save(path)
    assert path.stat().st_size == model.nbytes
    loaded = tersor.load(path)
    assert isinstance(loaded, tersor.CompressedModel)
    assert loaded.content_hash == model.content_hash
    assert loaded.recipe == model.recipe
    assert loaded.preprocess == model.preprocess
    assert loaded.preprocess["scale"] == 0.5
    assert loaded.lineage == model.lineage
    np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))
    loaded.save(tmp_path / "again.tersor")
    assert (tmp_path / "again.tersor").read_bytes() == path.read_bytes()


def test_bf16_survives_the_file(graph, tmp_path):
    x = images()
    model = tersor.compress(graph, recipe="bf16")
    model.save(tmp_path / "model.tersor")
    loaded = tersor.load(tmp_path / "model.tersor")
    assert loaded.precision == "bf16"
    np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))


def test_raw_bytes_are_prepared(graph):
    raw = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    prepare = {"scale": 1 / 255, "mean": [0.5], "std": [0.25], "layout": "NCHW"}
    ready = ((raw.astype(np.float32) * np.float32(1 / 255) - 0.5) / 0.25).transpose(0, 3, 1, 2)
    a = tersor.compress(graph, calibration=raw, preprocess=prepare)
    b = tersor.compress(graph, calibration=np.ascontiguousarray(ready), preprocess=prepare)
    x = images()
    np.testing.assert_allclose(
        outputs(a, x), outputs(b, x), atol=0.05 * np.abs(outputs(b, x)).max()
    )


def test_evaluate_with_labels_and_with_a_function(graph):
    x = images(200)
    y = outputs(graph, x).argmax(1)
    model = tersor.compress(graph, calibration=x, evaluate=(x, y))
    figures = model.provenance["figures"]
    assert figures["accuracy_before"] == 1
    assert 0.9 < figures["accuracy"] <= 1
    scored = tersor.compress(graph, calibration=x, evaluate=lambda session: len(session(x[:3])))
    assert scored.provenance["figures"] == {"accuracy_before": 3, "accuracy": 3}


def test_budget_that_holds(graph):
    x = images()
    y = outputs(graph, x).argmax(1)
    budget = {"size": "64 KB", "accuracy_drop": 0.5, "latency": "10 s", "ram": "1 GB"}
    tersor.compress(graph, "edge", budget, calibration=x, evaluate=(x, y))
    tersor.compress(graph, budget={"latency": "10 s"}, calibration=x)


@pytest.mark.parametrize("line", ["size", "latency", "ram"])
@pytest.mark.parametrize("target", [None, "edge", "cloud"])
def test_budget_that_does_not_hold(graph, target, line):
    limit = {"size": "1 KB", "latency": "1 ns", "ram": "10"}[line]
    with pytest.raises(tersor.BudgetError, match=f"budget not met: .*{line}"):
        tersor.compress(graph, target, {line: limit}, calibration=images())


def test_budget_needs_its_figures(graph):
    def never(stage, done, total):
        raise AssertionError("refused before anything begins")

    cases = {
        "asks for accuracy_drop": {"budget": {"accuracy_drop": 0.01}, "recipe": "int8"},
        "asks for energy": {"budget": {"energy": "1 J"}},
        "must have labels": {"evaluate": images(4)},
        "need as many labels, got 3": {"evaluate": (images(4), np.zeros(3, int))},
    }
    for text, arguments in cases.items():
        with pytest.raises(ValueError, match=text):
            tersor.compress(graph, calibration=images(), progress=never, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "calibration must be given for recipe 'int8'"),
        ({"calibration": []}, ValueError, "calibration set is empty"),
        ({"recipe": "int7"}, ValueError, "did you mean 'int8'"),
        ({"target": "egde", "recipe": "fp32"}, ValueError, "did you mean 'edge'"),
        ({"budget": {"sise": 1}, "recipe": "fp32"}, ValueError, "did you mean 'size'"),
        ({"seed": -1, "recipe": "fp32"}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"time_budget": 0, "recipe": "fp32"}, ValueError, "time_budget must be seconds > 0"),
        ({"time_budget": "1 s"}, TypeError, "time_budget must be seconds > 0, got '1 s'"),
        ({"seed": 1.5}, TypeError, r"seed must be an integer >= 0, got 1\.5"),
        ({"seed": True}, TypeError, "seed must be an integer >= 0, got True"),
        ({"recipe": 3}, TypeError, "recipe must be a mapping .* got int"),
        ({"budget": 3}, TypeError, "budget must be a mapping .* got int"),
        ({"target": 3}, TypeError, "target must be a name, a path or a Target, got int"),
        ({"preprocess": 3}, TypeError, "preprocess must be a mapping .* got int"),
    ],
)
def test_mistakes_are_explained(graph, arguments, error, text):
    with pytest.raises(error, match=text):
        tersor.compress(graph, **arguments)


def test_graph_must_be_a_graph():
    with pytest.raises(TypeError, match=r"graph must be a tersor\.Graph, got str"):
        tersor.compress("model.onnx")


def test_paths_must_be_paths(graph):
    with pytest.raises(TypeError, match="load: path must be text or path-like, got int"):
        tersor.load(3)
    with pytest.raises(TypeError, match="save: path must be text or path-like, got NoneType"):
        tersor.compress(graph, recipe="fp32").save(None)


def test_progress_bar_and_callable(graph, capsys):
    stages = []
    x = images(8)
    y = outputs(graph, x).argmax(1)
    tersor.compress(
        graph, calibration=x, evaluate=(x, y), progress=lambda *call: stages.append(call[0])
    )
    assert stages[0] == "calibrate"
    assert stages[-1] == "evaluate"
    tersor.compress(graph, calibration=x, progress=True)
    assert capsys.readouterr().out == ""


def test_summary_renders(graph):
    model = tersor.compress(graph, calibration=images())
    text = str(model)
    assert "int8 per channel" in text
    assert model.content_hash[:16] in text
    assert "<table>" in model._repr_html_()
    assert "CompressedModel(recipe int8" in repr(model)
    assert model.summary().row_count == 4


def test_the_graph_is_not_changed(graph):
    before = tersor.artifact.content_hash(graph)
    for recipe in ("int8", "bf16", "fp32"):
        tersor.compress(graph, recipe=recipe, calibration=images(8))
    with pytest.raises(ValueError, match=r"'keep' is for a network that is quantized already"):
        tersor.compress(graph, recipe="keep")
    assert tersor.artifact.content_hash(graph) == before


def relu6_network():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 3, 8, 8))
    rng = np.random.default_rng(0)
    scale = 2.0 ** np.linspace(-6, 1, 8)
    w = graph.add_constant(
        "w", (rng.normal(size=(8, 3, 1, 1)) * scale[:, None, None, None]).astype("f4")
    )
    h = graph.add_node("conv", [x, w], {"activation": "relu6"}, "first")
    v = graph.add_constant("v", (rng.normal(size=(4, 8, 1, 1)) / scale[:, None, None]).astype("f4"))
    graph.set_outputs([graph.add_node("conv", [h, v], {}, "second")])
    return graph, (0.5 * rng.normal(size=(64, 3, 8, 8))).astype(np.float32)


def test_what_is_tried_does_not_depend_on_threads():
    graph, samples = relu6_network()
    found = []
    for threads in (1, 2, 3):
        tersor.set_threads(threads)
        found.append(tersor.compress(graph, calibration=samples, recipe={"equalize_relu6": True}))
    tersor.set_threads(0)
    assert found[0].notes["equalize_relu6"] == found[1].notes["equalize_relu6"]
    assert len({model.content_hash for model in found}) == 1


def test_equalization_through_relu6_is_kept_only_where_it_helps():
    graph, samples = relu6_network()
    model = tersor.compress(graph, calibration=samples, recipe={"equalize_relu6": True})
    tried = model.notes["equalize_relu6"]
    assert tried["kept"]
    assert tried["db"][1] > tried["db"][0] + 3
    # Values beyond 6 must be cut: then the function changes, and the trial is dropped.
    model = tersor.compress(graph, calibration=40 * samples, recipe={"equalize_relu6": True})
    assert not model.notes["equalize_relu6"]["kept"]
    activations = {n.name: n.attributes.get("activation") for n in model.graph.nodes}
    assert activations["first"] == "relu6"
