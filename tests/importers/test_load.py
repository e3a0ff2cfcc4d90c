"""tersor.load: suffixes, missing files, missing packages, lazy imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tersor


@pytest.mark.parametrize("name", ["network.txt", "network", "network.onnx.gz"])
def test_unknown_suffix(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"load: path must end in \.onnx, .*, got 'network"):
        tersor.load(tmp_path / name)


@pytest.mark.parametrize("suffix", [".onnx", ".tersor", ".keras", ".h5"])
def test_missing_file(suffix, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load: path must be a file, got .*does not exist"):
        tersor.load(tmp_path / f"nowhere{suffix}")


def test_folder(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(FileNotFoundError, match="must be a file"):
        tersor.load(tmp_path / "folder.onnx")


MISSING = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
import tersor
try:
    {call}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("hidden", "call", "message"),
    [
        (["onnx"], "tersor.load({path!r} + '.onnx')", "pip install tersor[onnx]"),
        (["onnx_ir"], "tersor.load({path!r} + '.onnx')", "pip install tersor[onnx]"),
        (["keras"], "tersor.load({path!r} + '.keras')", "pip install tersor[keras]"),
        (["keras"], "tersor.from_keras(None)", "pip install tersor[keras]"),
        (["torch"], "tersor.from_torch(None, None)", "pip install tersor[torch]"),
        (["onnxscript"], "tersor.from_torch(None, None)", "pip install tersor[torch]"),
    ],
)
def test_missing_package(hidden, call, message, tmp_path):
    path = tmp_path / "x"
    for suffix in (".onnx", ".keras"):
        path.with_suffix(suffix).write_bytes(b"")
    code = MISSING.format(hidden=hidden, call=call.format(path=str(path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert message in done.stdout


def test_import_is_light():
    code = """
import sys, tersor
tersor.load, tersor.Graph, tersor.ImportFormatError
heavy = ("onnx", "onnx_ir", "onnxscript", "torch", "keras", "h5py", "rich")
print([m for m in heavy if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
