"""ONNX files of the networks in architectures.py, made once per test session."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from tests import architectures

torch.set_num_threads(1)  # the default makes small networks slower on a busy machine

_FOLDER = tempfile.TemporaryDirectory(prefix="tersor-onnx-")


@functools.cache
def onnx_file(name: str) -> Path:
    """Path of the network as an ONNX file."""
    module, example = architectures.build(name)
    return export(module, example, Path(_FOLDER.name) / f"{name}.onnx")


def export(module: torch.nn.Module, example: architectures.Example, path: Path) -> Path:
    """Write a module: open batch, inputs in0, in1, ... (TorchScript exporter, opset 17)."""
    names = [f"in{i}" for i in range(len(example))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=False,
            input_names=names,
            opset_version=17,
            dynamic_axes={n: {0: "batch"} for n in names},
        )
    return path


def inputs_of(name: str, batch: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Random inputs of the network."""
    rng = np.random.default_rng(seed)
    result = []
    for e in architectures.build(name)[1]:
        shape = (batch, *e.shape[1:])
        floating = e.is_floating_point()
        result.append(
            rng.normal(size=shape).astype(np.float32) if floating else rng.integers(0, 50, shape)
        )
    return result
