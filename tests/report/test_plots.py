"""Matplotlib figures, and the error where it is missing."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _headless():
    pytest.importorskip("matplotlib").use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_pareto(report):
    axes = report.plot.pareto()
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.texts} == {"fp32", "cloud", "edge", "mcu & co"}
    steps = axes.lines[0].get_xydata()
    assert steps[:, 1].tolist() == sorted(steps[:, 1])


def test_latency_on_given_axes(report):
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    assert report.plot.latency(axes) is axes
    assert len(axes.patches) == 4


def effects(labeled):
    from types import SimpleNamespace

    rows = [
        SimpleNamespace(
            layer=layer,
            part="pruned",
            sparsity=sparsity,
            agreement=0.99 - loss * sparsity,
            accuracy=0.98 - loss * sparsity if labeled else None,
        )
        for layer, loss in [("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4), ("all layers", 0.8)]
        for sparsity in (0.9, 0.5)
    ]
    rows.append(SimpleNamespace(layer="a", part="weights", agreement=0.0, accuracy=0.0))
    return SimpleNamespace(effects=rows, accuracy=0.98 if labeled else None)


@pytest.mark.parametrize("labeled", [True, False])
def test_accuracy_vs_sparsity(report, labeled):
    axes = report.plot.accuracy_vs_sparsity(effects(labeled))
    curves = {line.get_label(): line.get_xydata() for line in axes.lines}
    start = 98 if labeled else 100
    assert curves["all layers"].tolist() == [
        [0, start],
        [50, pytest.approx(58 if labeled else 59)],
        [90, pytest.approx(26 if labeled else 27)],
    ]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["b", "c", "d", "all layers"]
    assert len(axes.lines) == 5
    points = [tuple(dots.get_offsets()[0]) for dots in axes.collections]
    assert points[0] == (0, pytest.approx(99.5 if labeled else 99))
    assert ("accuracy" in axes.get_ylabel()) == labeled


def test_accuracy_vs_sparsity_of_variants_alone(report, bare):
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    assert report.plot.accuracy_vs_sparsity(ax=axes) is axes
    assert {text.get_text() for text in axes.texts} == {"fp32", "cloud", "edge", "mcu & co"}
    with pytest.raises(ValueError, match="must have accuracies, got none"):
        bare.plot.accuracy_vs_sparsity()


def test_pareto_needs_accuracies(bare):
    with pytest.raises(ValueError, match="must have accuracies"):
        bare.plot.pareto()


def test_without_matplotlib_the_error_names_the_command(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tersor\[report\]'"):
        _ = report.plot
