"""``tersor curve``: points, files, refusals."""

import pytest

import tersor

CALIBRATE = ("--calibration", "digits")


@pytest.mark.filterwarnings("ignore:compress. the")
def test_points_and_files(run, tmp_path):
    folder = tmp_path / "out"
    result = run(
        "curve", "digits", "--bits", "2", "4", "-o", folder, *CALIBRATE, "--evaluate", "digits",
        "--json",
    )  # fmt: skip
    assert result.code == 0
    document = result.json()
    two, four = document["points"]
    assert two["code_bytes"] < four["code_bytes"]
    assert four["accuracy"] > document["accuracy"] - 0.02
    assert [tersor.load(f).nbytes for f in document["files"]] == [two["nbytes"], four["nbytes"]]
    assert sorted(p.name for p in folder.iterdir()) == ["2-bits.tersor", "4-bits.tersor"]


def test_refusals(run):
    result = run("curve", "digits")
    assert result.code == 2
    assert "--calibration must be given" in result.err
    result = run("curve", "digits", *CALIBRATE, "--bits", "9")
    assert result.code == 2
    assert "must be in (0, 8], got 9" in result.err
    result = run("curve", "digits", *CALIBRATE, "--recipe", "int8")
    assert result.code == 2
    assert "recipe must have rate-distortion layers" in result.err
