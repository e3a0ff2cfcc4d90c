"""``tersor compare``: report, page, budget."""

import re

import numpy as np
import pytest

from tersor.report import json_schema
from tersor.zoo import load_digits_data

FAST = ("--runs", "3")


def test_json_is_a_report(run):
    jsonschema = pytest.importorskip("jsonschema")
    result = run("compare", "digits", "twin=digits", "--data", "digits", "--json", *FAST)
    assert result.code == 0
    jsonschema.validate(result.json(), json_schema())
    assert [variant["name"] for variant in result.json()["variants"]] == ["digits", "twin"]
    assert result.json()["variants"][1]["accuracy"] == pytest.approx(599 / 602)


def test_data_from_a_file(run, tmp_path):
    data = load_digits_data()
    np.savez(tmp_path / "d.npz", x_test=data.x, y_test=data.y, x_train=data.x[:1])
    result = run("compare", "digits", "--data", tmp_path / "d.npz", "--json", *FAST)
    assert result.json()["variants"][0]["accuracy"] == pytest.approx(599 / 602)


def test_preprocess_takes_the_place_of_what_the_network_carries(run, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("scale: 0.0\nlayout: NCHW\n")
    options = ("--data", "digits", "--preprocess", path, "--json", *FAST)
    blind = run("compare", "digits", *options).json()["variants"][0]["accuracy"]
    assert blind < 0.2


def test_raw_bytes_without_preprocessing_are_noted(run, tmp_path):
    import tersor

    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 8))
    graph.set_outputs([graph.add_node("relu", [x])])
    tersor.artifact.save(tmp_path / "n.tersor", graph)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 8), np.uint8), y=[0, 0, 0, 0])
    result = run("compare", tmp_path / "n.tersor", "--data", tmp_path / "d.npz", *FAST)
    assert result.code == 0
    assert "gets raw bytes, 0 to 255" in result.err


def test_budget_missed_is_code_3_after_the_report(run, tmp_path):
    page = tmp_path / "r.html"
    options = ("--target", "edge", "--budget", "size=1KB", "--html", page, *FAST)
    result = run("compare", "digits", "twin=digits", *options)
    assert result.code == 3
    assert "missed: size" in result.out
    assert re.search(r"budget not met: twin: size is \d+\.\d KB", result.err)
    assert "limit 1.00 KB" in result.err
    assert page.read_text().startswith("<!doctype html>")


def test_budget_met(run):
    options = ("--target", "mcu", "--budget", "size=128KB,accuracy_drop=1%", *FAST)
    result = run("compare", "digits", "twin=digits", "--data", "digits", *options)
    assert result.code == 0
    assert " met " in result.out
