"""All kernels compile without warnings, where there is a compiler for them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "compile_all.sh"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.slow
def test_no_warnings():
    # The oldest and one with clusters; the script alone takes all that a release has.
    done = subprocess.run(
        [SCRIPT, "75", "90"], env={**os.environ, "JOBS": "2"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
