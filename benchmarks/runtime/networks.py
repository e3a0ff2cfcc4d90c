"""Networks of the end-to-end benchmark: one folder of files per network, made once.

``fp32.onnx`` and ``int8.onnx`` (ONNX Runtime's quantize_static: QDQ, per channel, 128 images) feed
the peers, ``fp32.tersor`` and ``int8.tersor`` tersor, ``module.pt`` PyTorch, ``fp32.tflite`` LiteRT
where there is one. ``data.npz`` holds calibration images and what quality is measured on: test
images with labels, or random ones with the float network's outputs.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor import zoo
from tests import architectures, datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CALIBRATION = 128
QUALITY = 2000


def _resnet8() -> nn.Module:
    """Weights by layer order from the Keras file."""
    import h5py

    module = zoo.resnet8()
    modules = list(module.modules())
    convs = [m for m in modules if isinstance(m, nn.Conv2d)]
    with h5py.File(datasets.find("models/resnet8-cifar10.h5")) as file:
        weights = file["model_weights"]
        layers = {
            n: {k.split(":")[0]: np.array(v) for k, v in _datasets(weights[n])} for n in weights
        }
    kernels = sorted((n for n in layers if n.startswith("conv2d")), key=_number)
    norms = sorted((n for n in layers if n.startswith("batch_normalization")), key=_number)
    for size in (3, 1):  # shortcuts come in between, in another order
        chosen = [m for m in convs if m.kernel_size == (size, size)]
        names = [n for n in kernels if layers[n]["kernel"].shape[0] == size]
        for conv, name in zip(chosen, names, strict=True):
            kernel = layers[name]["kernel"].transpose(3, 2, 0, 1)
            conv.weight.data = torch.from_numpy(kernel.copy())
            conv.bias.data = torch.from_numpy(layers[name]["bias"])
    own = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    for norm, name in zip(own, norms, strict=True):
        values = layers[name]
        norm.weight.data = torch.from_numpy(values["gamma"])
        norm.bias.data = torch.from_numpy(values["beta"])
        norm.running_mean = torch.from_numpy(values["moving_mean"])
        norm.running_var = torch.from_numpy(values["moving_variance"])
    dense = next(v for n, v in layers.items() if n.startswith("dense"))
    module.linear.weight.data = torch.from_numpy(dense["kernel"].T.copy())
    module.linear.bias.data = torch.from_numpy(dense["bias"])
    return module


def _number(name: str) -> int:
    tail = name.rsplit("_", 1)[-1]
    return int(tail) if tail.isdigit() else 0


def _datasets(group) -> Iterator[tuple[str, object]]:
    for name, item in group.items():
        if hasattr(item, "dtype"):
            yield name, item
        else:
            yield from _datasets(item)


def _resnet20() -> nn.Module:
    from safetensors.torch import load_file

    module = zoo.resnet20()
    module.load_state_dict(load_file(datasets.find("models/resnet20-cifar10.safetensors")))
    return module


def _mobilenet_v2() -> nn.Module:
    module, _ = architectures.build("mobilenet_v2")
    return module


# name -> (module, input shape, trained on CIFAR-10)
NETWORKS = {
    "resnet20": (_resnet20, (3, 32, 32), True),
    "resnet8": (_resnet8, (3, 32, 32), True),
    "mobilenet_v2": (_mobilenet_v2, (3, 224, 224), False),
}


def _images(name: str, split: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images = datasets.cifar10(split)
    chosen = np.random.default_rng(0).permutation(len(images.x))[:count]
    x = images.x[chosen].astype(np.float32)
    if name != "resnet8":  # that one takes raw bytes
        x = (x / 255 - MEAN) / STD
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), images.y[chosen]


def prepare(name: str, folder: Path) -> Path:
    """Make the files of a network in ``folder / name``, unless they are there."""
    target = folder / name
    if (target / "done").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    make, shape, trained = NETWORKS[name]
    module = make().eval()
    if trained:
        calibration, _ = _images(name, "train", CALIBRATION)
        x, labels = _images(name, "test", QUALITY)
        data = {"calibration": calibration, "x": x, "labels": labels}
    else:
        rng = np.random.default_rng(0)
        calibration = rng.normal(size=(CALIBRATION, *shape)).astype(np.float32)
        x = rng.normal(size=(16, *shape)).astype(np.float32)
        with torch.no_grad():
            data = {
                "calibration": calibration,
                "x": x,
                "reference": module(torch.from_numpy(x)).numpy(),
            }
    np.savez(target / "data.npz", **data)
    torch.save(module, target / "module.pt")
    if name == "resnet20":  # OpenVINO refuses the int8 form of what other exporters write for it
        shutil.copy(datasets.find("models/resnet20-cifar10.onnx"), target / "fp32.onnx")
    else:
        _export(module, shape, target / "fp32.onnx")
    _quantize_onnx(target, calibration)
    _write_tersor(target, calibration)
    if name == "resnet8":
        shutil.copy(datasets.find("models/resnet8-cifar10-float.tflite"), target / "fp32.tflite")
    (target / "done").touch()
    return target


def _export(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    torch.onnx.export(
        module,
        (torch.zeros(2, *shape),),
        path,
        dynamo=True,
        dynamic_shapes=({0: batch},),
        input_names=["input"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )


def _quantize_onnx(target: Path, calibration: NDArray[np.float32]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(calibration)

        def get_next(self):
            row = next(self.rows, None)
            return None if row is None else {"input": row[None]}

    prepared = target / "prepared.onnx"
    quant_pre_process(str(target / "fp32.onnx"), str(prepared))
    start = time.perf_counter()
    quantize_static(
        str(prepared),
        str(target / "int8.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    (target / "int8.onnx.seconds").write_text(f"{time.perf_counter() - start:.3f}\n")


def _write_tersor(target: Path, calibration: NDArray[np.float32]) -> None:
    import tersor

    graph = tersor.load(target / "fp32.onnx")
    for recipe in ("fp32", "int8"):
        start = time.perf_counter()
        compressed = tersor.compress(graph, recipe=recipe, calibration=calibration, progress=False)
        compressed.save(target / f"{recipe}.tersor")
        (target / f"{recipe}.tersor.seconds").write_text(f"{time.perf_counter() - start:.3f}\n")


if __name__ == "__main__":
    # By its import name, so that the pickled module finds its class in the worker.
    from benchmarks.runtime import networks

    networks.prepare(sys.argv[1], Path(sys.argv[2]))
