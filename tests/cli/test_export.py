"""``tersor export``: a file for another runtime, and what it says."""

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
