"""A report with everything in it: heat map, emulated core, files, weights; JSON and page."""

import json
from dataclasses import replace

import pytest

import tersor
from tersor.exporters.emulated_model import missing_tools
from tersor.report import json_schema, run_on_emulator
from tersor.report.tables import scales_table
from tersor.targets import Energy, Target
from tersor.zoo import load_digits_data, load_digits_network

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def whole():
    graph = load_digits_network()
    calibration, test = load_digits_data("calibration"), load_digits_data()
    variants = {"fp32": graph}
    for name, recipe in (("cloud", "bf16"), ("edge", "codebook4"), ("mcu", "int8")):
        variants[name] = tersor.compress(
            graph, name, recipe=recipe, calibration=calibration, progress=False
        )
    found = tersor.sensitivity(graph, calibration, bits=[8, 2], samples=32)
    targets = {name: name for name in ("cloud", "edge", "mcu")}
    return tersor.compare(
        variants, test, targets, runs=5, emulate=True, sensitivity=found, title="Whole"
    )


def test_json(whole):
    document = json.loads(whole.to_json())
    jsonschema.validate(document, json_schema())
    fp32, *others = document["variants"]
    for variant in others:
        assert sum(variant["file"].values()) == variant["size_bytes"]
        interval = variant["accuracy_interval"]
        assert interval["low"] <= variant["accuracy"] <= interval["high"]
        assert variant["change_interval"]["low"] <= variant["accuracy"] - fp32["accuracy"]
        assert variant["compress_seconds"] > 0
        quantiles = variant["latency"]["quantiles_s"]
        assert quantiles == sorted(quantiles)
        assert len(quantiles) == 21
        assert quantiles[0] == variant["latency"]["min_s"]
    assert fp32["change_interval"] is None
    assert len(document["sensitivity"]["effects"]) > 10


def test_page(whole):
    page = whole.to_html()
    parts = ("Side by side", "Sensitivity of the layers", "Weights before and after", "by part")
    for text in (*parts, "Time to compress", "16 values", whole["mcu"].file.content_hash):
        assert text in page, text
    assert len(page) < 200_000


def test_terminal(whole):
    text = str(whole)
    assert "side by side" in text
    assert "what is in the files" in text
    assert whole["edge"].file.content_hash[:12] in text


def test_microcontroller_runs_emulated_or_says_why(whole):
    figures = whole["mcu"].on_target
    run = figures.emulated
    assert run.core == "cortex-m7"
    assert whole["edge"].on_target.emulated is None
    if missing_tools("cortex-m7"):
        assert run.instructions is None
        assert "must be installed: apt-get install" in run.reason
        assert figures.ram_source == "modelled"
        return
    assert run.identical == run.samples == 8
    assert figures.ram_bytes == run.data_bytes + run.stack_bytes
    assert (figures.ram_source, figures.latency_source) == ("emulated", "modelled")
    target = Target.load("mcu")
    assert figures.latency_s == pytest.approx(run.instructions / target.clock_hz)
    assert "instructions counted under QEMU" in figures.latency_formula


def test_what_cannot_become_c_says_so():
    graph = load_digits_network()
    x = load_digits_data().x[:2].transpose(0, 3, 1, 2).astype("float32")
    assert run_on_emulator(graph, Target.load("edge"), x) is None
    run = run_on_emulator(graph, Target.load("mcu"), x)
    assert run.instructions is None
    assert run.reason


def test_measured_energy_goes_before_the_model(whole):
    energy = Energy(2e-3, 1e-3, 100, "RAPL of this machine")
    known = replace(whole["cloud"], energy=energy)
    report = replace(whole, variants=(whole["fp32"], known))
    jsonschema.validate(report.to_dict(), json_schema())
    assert "2 mJ an inference over 100 calls: RAPL" in report.to_html()


def test_one_target_has_no_side_by_side(whole):
    assert scales_table(replace(whole, variants=(whole["fp32"], whole["mcu"]))) is None


@pytest.mark.parametrize(
    "plot", ["pareto", "latency", "file_parts", "time_to_compress", "weights", "sensitivity"]
)
def test_plots(whole, plot):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert getattr(whole.plot, plot)().get_title()
    pyplot.close("all")


def test_plots_without_figures_say_so(bare):
    pytest.importorskip("matplotlib")
    for plot in ("file_parts", "time_to_compress", "weights", "sensitivity"):
        with pytest.raises(ValueError, match=plot):
            getattr(bare.plot, plot)()
