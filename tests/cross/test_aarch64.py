"""The C++ library and its tests on 64-bit Arm, by cross-compilation and emulation."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("cmake", "ninja", "aarch64-linux-gnu-g++", "qemu-aarch64")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
@pytest.mark.skipif(
    "TERSOR_TEST_CROSS" not in os.environ,
    reason="compiles the library again: make test-aarch64, or set TERSOR_TEST_CROSS=1",
)
def test_cpp_tests_pass_on_aarch64():
    script = Path(__file__).with_name("run_aarch64.sh")
    result = subprocess.run([script], capture_output=True, text=True, timeout=3600, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
