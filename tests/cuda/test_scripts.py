"""The benchmark and the sanitizer's script, as far as they go without a device."""

import subprocess
import sys
from pathlib import Path

import pytest

from tersor.cuda import native

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_benchmark_explains_itself():
    done = run(sys.executable, "-m", "benchmarks.cuda.bench_cuda", "--help")
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
    done = run(sys.executable, "-m", "benchmarks.cuda.bench_cuda", "nothing")
    assert done.returncode == 2
    assert "no family nothing; there are elementwise, losses, products" in done.stderr


@pytest.mark.skipif(native.is_available(), reason="there is a device")
def test_without_a_device_they_say_so(tmp_path):
    done = run(sys.executable, "-m", "benchmarks.cuda.bench_cuda", "-o", str(tmp_path / "x.json"))
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    done = run("env", f"PYTHON={sys.executable}", "sh", "tests/cuda/run_sanitizer.sh")
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr or "TERSOR_CUDA=ON" in done.stderr
    assert "==" not in done.stdout
