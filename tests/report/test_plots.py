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


def test_pareto_needs_accuracies(bare):
    with pytest.raises(ValueError, match="must have accuracies"):
        bare.plot.pareto()


def test_without_matplotlib_the_error_names_the_command(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tersor\[report\]'"):
        _ = report.plot
