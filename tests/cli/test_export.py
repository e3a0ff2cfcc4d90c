"""``tersor export``: a file for another runtime, and what it says."""

import warnings

import numpy as np
import pytest

import tersor
from tersor.zoo import load_digits_network


def test_onnx(run, tmp_path):
    pytest.importorskip("onnx")
    tersor.compress(load_digits_network(), recipe="w4a32").save(tmp_path / "n.tersor")
    path = tmp_path / "n.onnx"
    document = run("export", tmp_path / "n.tersor", "-o", path, "--json").json()
    assert (document["format"], document["nbytes"]) == ("onnx", path.stat().st_size)
    assert any("float32 weights instead of 4-bit" in why for why in document["decoded"].values())
    text = run("export", "digits", "-o", path, "--dtype", "float16").out
    assert f"{path.stat().st_size:,} bytes" in text


def test_wrong_names(run, tmp_path):
    result = run("export", "digits", "-o", tmp_path / "n.bin")
    assert result.code == 2
    assert "path must end in .onnx" in result.err
    result = run("export", "digits", "-o", tmp_path / "n.bin", "--format", "onxx")
    assert "format must be one of onnx" in result.err
    assert list(tmp_path.iterdir()) == []


def test_c(run, tmp_path):
    graph = load_digits_network()
    x = np.random.default_rng(0).uniform(size=(64, *graph.inputs[0].shape[1:])).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # agreement on noise means nothing
        model = tersor.compress(graph, recipe="int8", calibration=x)
    model.save(tmp_path / "n.tersor")
    path = tmp_path / "n_c"
    options = ("--format", "c", "--target", "stm32u575", "--name", "digits")
    document = run("export", tmp_path / "n.tersor", "-o", path, *options, "--json").json()
    assert document["format"] == "c"
    assert sorted(p.name for p in path.iterdir()) == ["digits.c", "digits.h", "main.c"]
    assert "Arm cores with the DSP extension" in (path / "digits.c").read_text()
    run("export", tmp_path / "n.tersor", "-o", tmp_path / "rows", *options, "--rows-in")
    assert "int32_t digits_feed(void)" in (tmp_path / "rows" / "digits.h").read_text()
    assert (
        run("export", tmp_path / "n.tersor", "-o", tmp_path / "s", *options, "--streaming").code
        == 0
    )
    again = run("export", tmp_path / "n.tersor", "-o", path, *options)
    assert again.code == 2
    assert "folder that does not exist" in again.err
