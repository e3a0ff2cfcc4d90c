"""``tersor compress``: the file, the report, budgets, refusals."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import tersor
from tersor.report import json_schema
from tersor.zoo import load_digits_data

CALIBRATE = ("--calibration", "digits")


def test_int8(run, tmp_path):
    path, page = tmp_path / "d.tersor", tmp_path / "d.html"
    options = ("--target", "mcu", "--evaluate", "digits", "--html", page, "--json")
    result = run("compress", "digits", "-o", path, *CALIBRATE, *options)
    assert result.code == 0
    document = result.json()
    original, compressed = document["report"]["variants"]
    assert compressed["size_bytes"] == path.stat().st_size < 0.4 * original["size_bytes"]
    assert original["accuracy"] == pytest.approx(599 / 602)
    assert compressed["accuracy"] > 0.985
    assert compressed["recipe"] == "int8"
    assert compressed["on_target"]["target"] == "mcu"
    assert compressed["on_target"]["misses"] == []
    pytest.importorskip("jsonschema").validate(document["report"], json_schema())
    assert page.read_text().startswith("<!doctype html>")
    # The file runs by itself, on raw images.
    loaded = tersor.load(path)
    assert loaded.content_hash == document["content_hash"]
    report = tersor.compare({"int8": loaded}, data=load_digits_data(), runs=1)
    assert report["int8"].accuracy == compressed["accuracy"]


def test_same_command_same_file(run, tmp_path):
    paths = [tmp_path / "a.tersor", tmp_path / "b.tersor"]
    options = (*CALIBRATE, "--target", "cloud", "--evaluate", "digits", "--json")
    hashes = [
        run("compress", "digits", "-o", path, *options).json()["content_hash"] for path in paths
    ]
    assert hashes[0] == hashes[1]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert tersor.load(paths[0]).provenance == {}
    run("compress", "digits", "-o", paths[0], *options, "--provenance")
    assert tersor.load(paths[0]).provenance["seconds"] > 0


def test_table(run, tmp_path):
    path = tmp_path / "d.tersor"
    result = run("compress", "digits", "-o", path, "--recipe", "bf16")
    assert result.code == 0
    assert "bf16" in result.out
    assert f"wrote {path}" in result.err


def test_calibration_from_a_file(run, tmp_path):
    data = load_digits_data("calibration")
    np.savez(tmp_path / "c.npz", images=data.x)
    path = tmp_path / "d.tersor"
    result = run("compress", "digits", "-o", path, "--calibration", tmp_path / "c.npz")
    assert result.code == 0
    assert path.is_file()


def test_budget_missed_is_code_3_and_writes_nothing(run, tmp_path):
    path = tmp_path / "d.tersor"
    result = run("compress", "digits", "-o", path, *CALIBRATE, "--budget", "size=1KB")
    assert result.code == 3
    assert "size is" in result.err
    assert "limit 1.00 KB" in result.err
    lines = result.err.splitlines()
    assert re.fullmatch(r"  size: layer \S+ binds: .* of the file are no weights", lines[-2])
    assert re.match(r"  what would fit: size=\d\.\dKB \(about", lines[-1])
    assert not path.exists()


def test_budget_of_accuracy(run, tmp_path):
    path = tmp_path / "d.tersor"
    arguments = ("compress", "digits", "-o", path, *CALIBRATE, "--budget", "accuracy_drop=1%")
    without = run(*arguments, "--recipe", "int8")
    assert without.code == 2
    assert "asks for accuracy_drop" in without.err
    assert not path.exists()
    assert run(*arguments, "--evaluate", "digits").code == 0


def test_interrupted_while_measuring(run, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    # `tersor.report.compare` is the function, which hides the module.
    monkeypatch.setattr(sys.modules["tersor.report.compare"], "compare", interrupted)
    path = tmp_path / "d.tersor"
    result = run("compress", "digits", "-o", path, "--recipe", "fp32")
    assert result.code == 130
    assert result.err == f"tersor: wrote {path}; measuring was interrupted\ntersor: interrupted\n"
    assert tersor.load(path).recipe.name == "fp32"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_report(run, tmp_path):
    path = tmp_path / "d.tersor"
    result = run("compress", "digits", "-o", path, "--recipe", "fp32", "--html", "/dev/full")
    assert result.code == 2
    first, second = result.err.splitlines()
    assert first == f"tersor: wrote {path}; the report was not written"
    assert second.startswith("tersor: report: /dev/full cannot be written: No space left")


def test_user_errors(run, tmp_path):
    path = tmp_path / "d.tersor"
    nan, empty, labels = (tmp_path / f"{name}.npz" for name in ("nan", "empty", "labels"))
    np.savez(nan, x=np.full((4, 1, 8, 8), np.nan, np.float32))
    np.savez(empty, x=np.zeros((0, 8, 8, 1), np.uint8))
    np.savez(labels, x=np.zeros((4, 8, 8, 1), np.uint8))
    run("compress", "digits", "-o", path, "--recipe", "fp32")
    named = tmp_path / "named.yaml"
    named.write_text("name: [a]\nvalues: fp32\n")
    cases = [
        (
            ("digits", "-o", tmp_path / "n.tersor", "--recipe", named),
            "name must be text, got ['a']",
        ),
        (("digits", "-o", path), "calibration must be given"),
        (("digits", "-o", path, "--calibration", nan), "has NaN"),
        (("digits", "-o", path, "--calibration", empty), "is empty"),
        (("digits", "-o", path, *CALIBRATE, "--evaluate", labels), "must have labels"),
        (("digits", "-o", path, "--recipe", "int9"), "did you mean 'int8'"),
        (("digits", "-o", path, "--target", "mcuu"), "did you mean 'mcu'"),
        (("digits", "-o", tmp_path / "d.onnx"), "must end in .tersor"),
        (("digits", "-o", tmp_path / "none" / "d.tersor"), "does not exist"),
        ((path, "-o", path), "is compressed already"),
    ]
    for arguments, sentence in cases:
        result = run("compress", *arguments)
        assert result.code == 2, sentence
        assert sentence in result.err, sentence
        assert result.err.count("\n") == 1, sentence
