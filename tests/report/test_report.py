"""JSON against its schema, the terminal table, budgets."""

import copy
import json
from pathlib import Path

import pytest

from tersor.base.error import BudgetError
from tersor.report import json_schema

jsonschema = pytest.importorskip("jsonschema")


def test_json_follows_its_schema(report, bare, tmp_path):
    jsonschema.Draft202012Validator.check_schema(json_schema())
    for one in (report, bare):
        text = one.to_json(tmp_path / "r.json")
        assert (tmp_path / "r.json").read_text() == text
        jsonschema.validate(json.loads(text), json_schema())
        assert json.loads(text) == one.to_dict()


@pytest.mark.parametrize("method", ["to_json", "to_html"])
def test_a_path_that_cannot_be_written(report, method, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"report: path must be in a folder that exists"):
        getattr(report, method)(tmp_path / "none" / "r.json")
    with pytest.raises(IsADirectoryError, match=r"report: .* cannot be written: Is a directory"):
        getattr(report, method)(tmp_path)
    with pytest.raises(TypeError, match="report: path must be text or path-like, got int"):
        getattr(report, method)(3)
    full = Path("/dev/full")
    if full.exists():
        with pytest.raises(OSError, match="report: /dev/full cannot be written: No space left"):
            getattr(report, method)(full)


def test_schema_refuses_what_is_wrong(report):
    def refused(change):
        document = copy.deepcopy(report.to_dict())
        change(document)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, json_schema())

    refused(lambda d: d.pop("baseline"))
    refused(lambda d: d.update(more=1))
    refused(lambda d: d["variants"].clear())
    refused(lambda d: d["variants"][0].update(accuracy=1.5))
    refused(lambda d: d["variants"][0]["latency"].update(runs=0))
    refused(lambda d: d["variants"][1]["on_target"]["energy"].update(source="guessed"))


def test_modelled_figures_are_labelled_everywhere(report):
    mcu = report.to_dict()["variants"][3]["on_target"]
    assert mcu["latency"]["source"] == "modelled"
    assert mcu["latency"]["formula"]
    text = str(report)
    assert "~ 3.20 ms" in text
    assert "~ modelled from published figures" in text
    assert "40.0 us" in text


def test_terminal_table(report, bare):
    text = str(report)
    for part in (
        "fp32",
        "99.00 % (-0.50)",
        "31.2 KB (3.66x)",
        "23.0 us (3.13x)",
        "missed: latency",
    ):
        assert part in text, part
    assert "budget" not in str(bare)


def test_names(report):
    assert report["edge"].recipe == "int8"
    assert [variant.name for variant in report] == ["fp32", "cloud", "edge", "mcu & co"]
    assert len(report) == 4
    assert "baseline 'fp32'" in repr(report)
    with pytest.raises(KeyError, match="must be one of fp32, cloud"):
        report["int4"]


def test_check_raises_with_every_miss(report, bare):
    bare.check()
    with pytest.raises(BudgetError, match=r"mcu & co: latency is 3.20 ms \(modelled\)") as caught:
        report.check()
    assert [miss.line for miss in caught.value.misses] == ["latency"]


def test_infinite_noise_ratio_is_null(report):
    import dataclasses

    equal = dataclasses.replace(report.variants[1], sqnr_db=float("inf"))
    assert equal.to_dict()["sqnr_db"] is None
