"""The package on a CPU without AVX, by emulation."""

import os
import shutil
import subprocess
import sys

import pytest

QEMU = shutil.which("qemu-x86_64")
pytestmark = pytest.mark.skipif(
    QEMU is None or os.uname().machine != "x86_64", reason="needs qemu-x86_64 (package qemu-user)"
)

CODE = """
import numpy as np, tersor
assert tersor.supported_isas() == ["baseline"], tersor.supported_isas()
x = np.linspace(-3, 3, 1001, dtype=np.float32)
q = tersor.quantization.quantize_affine(x, 0.05)
assert np.array_equal(q, np.clip(np.rint(x / np.float32(0.05)), -128, 127))
assert np.allclose(tersor.quantization.dequantize_affine(q, 0.05), x, atol=0.0251)
assert tersor._core.base.crc32c(b"123456789") == 0xE3069283
tersor.show_config()
"""


@pytest.mark.parametrize("cpu", ["Westmere", "Nehalem"])
def test_package_works_without_avx(cpu):
    result = subprocess.run(
        [QEMU, "-cpu", cpu, sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=300,
        env={k: v for k, v in os.environ.items() if k != "TERSOR_ISA"},
    )
    if "NumPy was built with baseline optimizations" in result.stderr:
        pytest.skip(f"this NumPy itself does not run on {cpu}")
    assert result.returncode == 0, result.stderr
    assert "baseline (available: baseline)" in result.stdout
