"""The installed package: it can be moved as a whole, and needs nothing that a system does not have.

What `auditwheel show` looks at, without a wheel: run paths, needed libraries, paths of the builder.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tersor
from tests.datasets import ROOT

PACKAGE = Path(tersor.__file__).resolve().parent
LIBRARIES = sorted(p for p in PACKAGE.iterdir() if ".so" in p.suffixes)
# The C and C++ runtime (PEP 599), OpenMP for oneDNN, and the package's own.
ALLOWED = re.compile(
    r"(lib(c|m|pthread|dl|rt|stdc\+\+|gcc_s|gomp|tersor|tersor_dnnl)|ld-linux-[\w-]+)\.so(\.\d+)?"
)
# A network small enough for any machine, float and int8.
RUN = """
import numpy as np, tersor
from pathlib import Path
assert str(Path(tersor.__file__).resolve()).startswith({folder!r}), tersor.__file__
graph = tersor.Graph()
w = graph.add_constant("w", np.eye(4, dtype=np.float32))
graph.set_outputs([graph.add_node("dense", [graph.add_input("x", "float32", (None, 4)), w])])
x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
np.testing.assert_allclose(tersor.Session(graph)(x), x, rtol=1e-6)
y = tersor.Session(tersor.compress(graph, calibration=x))(x)
assert np.abs(y - x).max() < 0.05
tersor.show_config()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf (package binutils)")
@pytest.mark.parametrize("path", LIBRARIES, ids=lambda p: p.name)
def test_libraries_need_the_system_and_each_other_only(path):
    out = subprocess.run(
        ["readelf", "-d", path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", out)
    assert needed
    assert [name for name in needed if not ALLOWED.fullmatch(name)] == []
    assert re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", out) == ["$ORIGIN"]


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda p: p.name)
def test_libraries_name_no_folder_of_their_builder(path):
    content = path.read_bytes()
    for folder in {str(ROOT), str(Path.home())} - {"/"}:
        assert f"{folder}/".encode() not in content


@pytest.mark.parametrize("level", ["", "baseline"])
def test_the_package_can_be_moved(tmp_path, level):
    shutil.copytree(PACKAGE, tmp_path / "tersor", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(folder=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TERSOR_ISA": level},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{level or tersor.supported_isas()[-1]} (available" in done.stdout


def test_the_base_install_pulls_no_framework():
    try:
        lines = importlib.metadata.requires("tersor") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package was copied here, not installed")
    base = {re.match(r"[\w-]+", line)[0].lower() for line in lines if "extra ==" not in line}
    assert {name.replace("_", "-") for name in base} == {"numpy", "ml-dtypes", "rich", "pyyaml"}
