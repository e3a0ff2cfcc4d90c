"""All kernels compile without warnings, where there is a compiler for them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "compile_all.sh"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize(
    "architectures",
    [
        pytest.param(["90"], id="90", marks=pytest.mark.slow),
        pytest.param([], id="all", marks=pytest.mark.extended),  # what a release has
    ],
)
def test_no_warnings(architectures):
    done = subprocess.run(
        [SCRIPT, *architectures], env={**os.environ, "JOBS": "2"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
