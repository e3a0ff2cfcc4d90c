"""Cascades: confidence, thresholds, who decides, and the figures on data."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.serve import Cascade, CascadeCurve, confidence

CLASSES = 4


def linear(weights):
    """A network of one dense layer: scores = weights @ x."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, weights.shape[1]))
    w = graph.add_constant("w", weights.astype(np.float32))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "dense")])
    return graph


def deep(weights):
    """The same scores from more work: an identity in front."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, weights.shape[1]))
    eye = graph.add_constant("eye", np.eye(weights.shape[1], dtype=np.float32))
    x = graph.add_node("dense", [x, eye], {}, "front")
    w = graph.add_constant("w", weights.astype(np.float32))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "dense")])
    return graph


@pytest.fixture
def networks():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(CLASSES, 8))
    x = rng.normal(size=(600, 8)).astype(np.float32)
    y = (x @ truth.T + rng.normal(size=(600, CLASSES)) * 0.3).argmax(axis=1)
    return linear(truth + rng.normal(size=truth.shape) * 0.5), deep(truth), x, y


@pytest.mark.parametrize("measure", ["margin", "probability", "entropy"])
def test_confidence_matches_the_formula(measure):
    logits = np.random.default_rng(1).normal(size=(50, 5)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ordered = np.sort(p, axis=1)
    wanted = {
        "margin": ordered[:, -1] - ordered[:, -2],
        "probability": ordered[:, -1],
        "entropy": 1 + (p * np.log(p)).sum(axis=1) / np.log(5),
    }[measure]
    np.testing.assert_allclose(confidence(logits, measure), wanted, atol=1e-12)
    np.testing.assert_allclose(confidence(p, measure), wanted, atol=1e-9)


def test_confidence_at_the_ends():
    assert confidence(np.zeros((1, 3)), "entropy") == pytest.approx(0, abs=1e-12)
    assert confidence(np.array([[1e4, 0, 0]]), "entropy") == 1
    assert np.isnan(confidence(np.array([[np.nan, 0.0]]))).all()
    assert confidence(np.zeros((0, 3))).shape == (0,)
    flat = confidence(np.array([[4.0, 0.0]]), temperature=1e6)
    assert flat == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "margins"}, "did you mean 'margin'"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"blend": -1.0}, "blend must be at least 0"),
        ({"threshold": float("nan")}, "threshold must be finite"),
    ],
)
def test_arguments_are_checked(networks, arguments, message):
    with pytest.raises(ValueError, match=message):
        Cascade(networks[0], networks[1], **arguments)


@pytest.mark.parametrize("name", ["blend", "temperature", "threshold"])
def test_numbers_are_numbers(networks, name):
    with pytest.raises(TypeError, match=f"Cascade: {name} must be a number, got 'x'"):
        Cascade(networks[0], networks[1], **{name: "x"})


def test_ties_and_nan_go_to_the_large_network():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(4, 8)), rng.normal(size=(60, 8)).astype(np.float32)
    y = (x @ weight.T).argmax(axis=1)
    tied = Cascade(linear(np.ones((4, 8))), linear(weight))
    figures = tied.choose_threshold((x, y))
    assert (figures.escalation, figures.accuracy) == (1, 1)
    x[::3] = np.nan
    cascade = Cascade(linear(weight), linear(weight))
    assert cascade.choose_threshold((x, y), accuracy_drop="5 %").escalation == pytest.approx(1 / 3)
    assert cascade.run(x).escalated[::3].all()


def test_classes_must_agree(networks):
    other = linear(np.ones((3, 8)))
    with pytest.raises(ValueError, match="same classes, got 3 and 4"):
        Cascade(other, networks[1])


def test_each_network_decides_its_samples(networks):
    small, large, x, _ = networks
    cascade = Cascade(small, large, threshold=0.6)
    result = cascade.run(x)
    few, many = tersor.Session(small)(x), tersor.Session(large)(x)
    wanted = confidence(few) < 0.6
    np.testing.assert_array_equal(result.escalated, wanted)
    assert 0 < wanted.sum() < len(x)
    np.testing.assert_array_equal(result.scores[~wanted], few[~wanted])
    np.testing.assert_allclose(result.scores[wanted], many[wanted], rtol=1e-6)
    assert (cascade.samples, cascade.escalated) == (600, int(wanted.sum()))
    np.testing.assert_array_equal(cascade(x), result.scores)


def test_blend_adds_the_small_networks_scores(networks):
    small, large, x, _ = networks
    result = Cascade(small, large, threshold=2.0, blend=0.25).run(x)
    wanted = tersor.Session(large)(x) + 0.25 * tersor.Session(small)(x)
    np.testing.assert_allclose(result.scores, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single_batches(networks, rows):
    small, large, x, _ = networks
    assert Cascade(small, large, threshold=0.5)(x[:rows]).shape == (rows, CLASSES)


def test_samples_that_are_not_numbers_go_on(networks):
    small, large, x, _ = networks
    x[0] = np.nan
    cascade = Cascade(small, large, threshold=0.0)
    assert cascade.run(x).escalated.tolist() == [True] + [False] * 599


def test_a_threshold_must_be_chosen_first(networks):
    cascade = Cascade(networks[0], networks[1])
    with pytest.raises(ValueError, match="threshold must be chosen first"):
        cascade(networks[2])
    with pytest.raises(ValueError, match="threshold must be chosen first"):
        cascade.evaluate(networks[2:])


def test_figures_are_those_of_running_it(networks):
    small, large, x, y = networks
    cascade = Cascade(small, large, blend=0.1)
    figures = cascade.choose_threshold((x, y))
    result = cascade.run(x)
    assert figures.escalation == pytest.approx(result.escalated.mean())
    assert figures.accuracy == pytest.approx((result.scores.argmax(axis=1) == y).mean())
    assert figures.accuracy >= figures.large_accuracy
    assert figures.macs == pytest.approx(32 + figures.escalation * (64 + 32))
    assert figures.speedup == pytest.approx(96 / figures.macs)
    again = cascade.evaluate((x, y))
    assert again == figures
    on = result.escalated
    few = tersor.Session(small)(x).argmax(axis=1)
    assert figures.small_on_escalated == pytest.approx((few == y)[on].mean())


def test_a_larger_drop_means_less_work(networks):
    small, large, x, y = networks
    cascade = Cascade(small, large)
    shares = [
        cascade.choose_threshold((x, y), accuracy_drop=drop).escalation
        for drop in (0.0, "2 %", 0.05, 0.5)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_speedup_is_met_without_labels(networks):
    small, large, x, _ = networks
    cascade = Cascade(small, large)
    figures = cascade.choose_threshold(x, speedup=1.6)
    assert 1.6 <= figures.speedup < 1.62
    assert figures.accuracy is None
    with pytest.raises(ValueError, match=r"at most 3\.00, what the small network alone saves"):
        cascade.choose_threshold(x, speedup=4)
    with pytest.raises(ValueError, match="speedup must be above 1"):
        cascade.choose_threshold(x, speedup=1)
    with pytest.raises(ValueError, match="one of them"):
        cascade.choose_threshold(x, speedup=2, accuracy_drop=0.1)


def test_agreement_stands_for_accuracy_without_labels(networks):
    small, large, x, _ = networks
    figures = Cascade(small, large).choose_threshold(x, accuracy_drop="1 %")
    assert figures.agreement >= 0.99
    assert 0 < figures.escalation < 1


@settings(max_examples=60, deadline=None)
@given(
    sure=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1.0]), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
    drop=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_the_choice_is_the_least_work_of_all_thresholds(sure, seed, drop):
    rng = np.random.default_rng(seed)
    small, large, y = rng.integers(0, 2, (3, len(sure)))
    curve = CascadeCurve(np.sort(sure), small, large, large, y, 10, 100)
    chosen = curve.choose(accuracy_drop=drop)
    assert chosen.accuracy >= chosen.large_accuracy - drop - 1e-12
    for threshold in [0.0, *np.unique(sure), 1.1]:
        figures = curve.at(threshold)
        if figures.accuracy >= figures.large_accuracy - drop:
            assert chosen.macs <= figures.macs


def test_no_threshold_keeps_the_accuracy():
    y = np.array([0, 1])
    wrong = 1 - y
    curve = CascadeCurve(np.array([0.1, 0.9]), wrong, wrong, y, y, 10, 100)
    with pytest.raises(ValueError, match=r"100\.00 points are missing"):
        curve.choose(accuracy_drop=0.0)


def test_threads_share_a_cascade(networks):
    small, large, x, _ = networks
    cascade = Cascade(small, large, threshold=0.6)
    wanted, found = cascade(x), []
    workers = [threading.Thread(target=lambda: found.append(cascade(x))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(part, wanted) for part in found)
    assert cascade.samples == 5 * len(x)


def test_the_table_prints(networks):
    text = str(Cascade(networks[0], networks[1]).curve(networks[2:]).table(3))
    assert "100.0 %" in text
    assert "threshold" in text
