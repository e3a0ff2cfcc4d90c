"""Int8 TFLite files on Arm's Ethos-U: its compiler places all of a network on the NPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import tersor
from tests.codegen import models

# What stays on the processor: float operators behind the last int8 layer, with what leads to them.
EXCEPTIONS = {"resnet8": ["DEQUANTIZE", "SOFTMAX"], "ds_cnn": ["DEQUANTIZE", "SOFTMAX"]}
NETWORKS = (
    *models.NAMES,
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet20", "mobilenet_v2_cifar")),
)


def vela(file: Path) -> tuple[int, list[str]]:
    """Operators on the NPU, and the kinds of those that are not."""
    found = shutil.which("vela", path=str(Path(sys.executable).parent)) or shutil.which("vela")
    if found is None:
        pytest.skip("vela is not installed: pip install ethos-u-vela")
    done = subprocess.run(
        [found, str(file), "--accelerator-config", "ethos-u55-128", "--output-dir",
         str(file.parent / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    count = re.search(r"^NPU operators = (\d+) ", text, re.M)
    assert count is not None, text
    left = re.findall(r"^Warning \(supported operators\) operator: (\w+)", text, re.M)
    on_processor = re.search(r"^CPU operators = (\d+) ", text, re.M)
    assert on_processor is not None
    assert int(on_processor[1]) == len(left)
    return int(count[1]), sorted(left)


def compressed(name: str) -> tersor.CompressedModel:
    if name in models.NAMES:
        return models.compressed(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # agreement on noise means nothing
        return tersor.compress(models.network(name), calibration=models.inputs(name, 4, 0))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_runs_on_the_npu(name, tmp_path):
    model = compressed(name)
    model.export(tmp_path / "network.tflite", ends="int8")
    placed, left = vela(tmp_path / "network.tflite")
    layers = [n for n in model.graph.nodes if n.op not in ("quantize", "dequantize", "softmax")]
    assert placed >= len([n for n in layers if n.op in ("conv", "dense", "add")])
    assert left == EXCEPTIONS.get(name, [])
