"""The library alone: a CMake project finds the installed tersor and uses it."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tersor
from tersor import _core

SOURCE = Path(__file__).resolve().parents[1] / "cpp_example"


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    if not shutil.which("cmake") or not (shutil.which("c++") or os.environ.get("CXX")):
        pytest.skip("cmake and a C++ compiler are not installed")
    build = tmp_path_factory.mktemp("build")
    commands = [
        ["cmake", "-S", SOURCE, "-B", build, f"-Dtersor_DIR={tersor.get_cmake_dir()}"],
        ["cmake", "--build", build],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build


def small_network():
    rng = np.random.default_rng(0)
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 3, 8, 8))
    w = g.add_constant("w", rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    y = g.add_node("conv", [x, w], {"pads": [1, 1, 1, 1], "activation": "relu"})
    g.set_outputs([g.add_node("reduce_mean", [y], {"axes": [2, 3], "keepdims": 0})])
    return g


def test_a_cpp_program_runs_a_saved_network(programs, tmp_path):
    graph = small_network()
    tersor.artifact.save(tmp_path / "m.tersor", graph)
    x = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    command = [programs / "classify", tmp_path / "m.tersor", "3"]
    done = subprocess.run(command, input=x.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    expected = tersor.Session(graph, threads=1)(x)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(3, 4), expected)


def test_a_damaged_file_is_one_sentence(programs, tmp_path):
    (tmp_path / "m.tersor").write_bytes(b"nonsense")
    command = [programs / "classify", tmp_path / "m.tersor", "1"]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert done.returncode == 1
    assert "not a .tersor file" in done.stderr


def test_an_operation_and_its_error(programs):
    out = subprocess.run([programs / "quantize"], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        f"{tersor.__version__} -5 5 7 127",
        "quantize_affine: scale must be finite and > 0, got 0 for channel 0",
    ]
