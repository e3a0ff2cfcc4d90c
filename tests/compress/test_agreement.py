"""What a change of the outputs is expected to cost, and the warning that says so."""

import warnings

import numpy as np
import pytest

import tersor
from tersor.compress.agreement import (
    expected_loss,
    kl_divergence,
    log_probabilities,
    signal_to_noise_db,
)
from tests.compress.networks import images, residual


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_nothing_is_expected_of_equal_outputs():
    x = np.random.default_rng(0).normal(size=(20, 5))
    assert expected_loss(x, x) == 0
    assert expected_loss(softmax(x), softmax(x)) == pytest.approx(0)
    assert kl_divergence(x, x) == 0


def test_outputs_that_are_no_classes():
    assert expected_loss(np.ones((3, 4, 4)), np.ones((3, 4, 4))) is None
    assert expected_loss(np.ones((3, 1)), np.zeros((3, 1))) is None
    assert expected_loss(np.ones((0, 3)), np.ones((0, 3))) is None


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 4.0])
def test_expected_loss_is_that_of_labels_drawn_from_the_probabilities(noise):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 10)) * 3
    labels = (softmax(logits).cumsum(1) > rng.uniform(size=(len(logits), 1))).argmax(1)
    changed = logits + rng.normal(size=logits.shape) * noise
    lost = 100 * ((logits.argmax(1) == labels).mean() - (changed.argmax(1) == labels).mean())
    assert expected_loss(logits, changed) == pytest.approx(lost, rel=0.3, abs=0.4)
    assert expected_loss(softmax(logits), softmax(changed)) == pytest.approx(
        expected_loss(logits, changed), rel=0.05
    )


def test_few_samples_tell_a_small_loss():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(20_000, 10)) * 6
    changed = logits + rng.normal(size=logits.shape)
    whole = expected_loss(logits, changed)
    parts = [expected_loss(logits[i : i + 128], changed[i : i + 128]) for i in range(0, 12800, 128)]
    assert np.mean(parts) == pytest.approx(whole, rel=0.2)
    assert np.std(parts) < whole


def test_probabilities_and_logits_mean_the_same():
    x = np.random.default_rng(0).normal(size=(6, 4))
    np.testing.assert_allclose(log_probabilities(softmax(x)), log_probabilities(x), atol=1e-9)
    y = x + 0.1 * np.arange(4)
    p, q = softmax(x), softmax(y)
    assert kl_divergence(x, y) == pytest.approx((p * np.log(p / q)).sum(1).mean())


def test_the_warning_names_layers_loss_and_what_helps():
    graph, x = residual(collapse=True), images()
    weight, bias = (graph.edges[i] for i in graph.nodes[-1].inputs[1:])
    graph.set_constant(weight.name, 10 * np.asarray(weight.constant))  # classes that are sure
    graph.set_constant(bias.name, 0 * np.asarray(bias.constant))
    with pytest.warns(UserWarning, match="quantized network differs") as caught:
        model = tersor.compress(graph, calibration=x, recipe={"equalize": False})
    text = str(caught[0].message)
    assert "points of top-1 accuracy are lost" in text
    assert "most is lost at " in text
    assert "set equalize: true" in text
    found = model.provenance["agreement"]
    assert found["expected_loss"] > 1
    assert 1 <= len(found["worst_layers"]) <= 3
    assert set(found["worst_layers"]) <= {node.name for node in model.graph.nodes}
    summary = str(model)
    assert "most is lost at" in summary
    assert "what would help" in summary


def sure_classes(graph):
    weight, bias = (graph.edges[i] for i in graph.nodes[-1].inputs[1:])
    graph.set_constant(weight.name, 10 * np.asarray(weight.constant))
    graph.set_constant(bias.name, 0 * np.asarray(bias.constant))
    return graph


@pytest.mark.parametrize(
    "recipe",
    ["int8", "int8-dynamic", "w8a32", "w4a32", "w4a8", "fp16", "bf16",
     {"values": "w4a32", "rounding": "nearest"}, {"values": "fp32", "layers": {"fc": "w8a32"}}],
)  # fmt: skip
def test_every_recipe_that_changes_values_names_its_worst_layers(recipe):
    graph = residual()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random classes are never sure
        model = tersor.compress(graph, recipe=recipe, calibration=images())
    found = model.provenance["agreement"]
    assert found["measured_on"] == "samples"
    assert found["expected_loss"] is not None
    assert 1 <= len(found["worst_layers"]) <= 3
    assert set(found["worst_layers"]) <= {node.name for node in model.graph.nodes}
    assert "most is lost at" in str(model)


@pytest.mark.parametrize(
    "recipe",
    [
        {"values": "w4a32", "rounding": "nearest", "bits": 2, "correct_bias": False},
        {"values": "w8a32", "bits": 2, "rounding": "nearest"},
    ],
)
def test_rounding_to_nearest_warns_of_what_it_costs(recipe):
    with pytest.warns(UserWarning, match=r"points of top-1 accuracy are lost.*rounding: gptq"):
        model = tersor.compress(sure_classes(residual()), recipe=recipe, calibration=images())
    assert model.provenance["agreement"]["expected_loss"] > 1


def test_without_samples_the_weights_alone_are_compared():
    model = tersor.compress(residual(), recipe={"values": "w4a32", "layers": {"fc": "fp32"}})
    found = model.provenance["agreement"]
    assert (found["measured_on"], found["expected_loss"]) == ("weights", None)
    assert set(found["worst_layers"]) == {"stem", "inner", "outer"}
    graph = residual()
    q = model.graph.edge("inner.weight").qparams
    values = tersor.quantization.dequantize(model.graph.edge("inner.weight").constant, q)
    wanted = signal_to_noise_db(graph.edge("inner.weight").constant, values)
    assert found["worst_layers"]["inner"] == pytest.approx(wanted, abs=0.01)
    assert "of the weights alone, without samples" in " ".join(str(model).split())
    assert "give calibration samples" in found["advice"]
    report = tersor.compare({"fp32": residual(), "w4": model}, runs=1, warmup=0)
    assert report["w4"].losses.measured_on == "weights"
    assert "of the weights alone" in " ".join(str(report).split())


def test_nothing_is_said_where_nothing_changed():
    for calibration in (None, images()):
        model = tersor.compress(residual(), recipe="fp32", calibration=calibration)
        assert "agreement" not in model.provenance


def test_a_good_network_does_not_warn_but_names_its_layers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tersor.compress(residual(), calibration=images())
    found = model.provenance["agreement"]
    assert found["expected_loss"] < 1
    assert found["worst_layers"]
    assert found["sqnr_db"] > 20
