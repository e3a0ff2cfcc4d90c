"""Float-in, float-out dense layers computed in int8 (dense_dynamic) against peers."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import Case, main
from tersor.quantization import DenseDynamic, choose_qparams, quantize

SHAPES = ((64, 576, 1024), (1024, 576, 64), (1, 1024, 4096), (128, 768, 3072))  # rows, K, outputs


def cases() -> Iterator[Case]:
    """Every shape; quality is the signal-to-noise ratio against the float product."""
    for rows, inputs, outputs in SHAPES:
        rng = np.random.default_rng(0)
        w = (rng.normal(size=(outputs, inputs)) / inputs**0.5).astype(np.float32)
        bias = rng.normal(size=outputs).astype(np.float32)
        x = np.maximum(rng.normal(0.5, 1, (rows, inputs)), 0).astype(np.float32)
        y = np.empty((rows, outputs), np.float32)
        q = choose_qparams(w, axis=0)
        dense = DenseDynamic(quantize(w, q), q.scale, bias)
        contenders: dict[str, Callable[[], Any]] = {
            "tersor": lambda f=dense, x=x, y=y: f(x, out=y),
            **_peers(w, bias, x),
        }
        wanted = x.astype(np.float64) @ w.T.astype(np.float64) + bias
        yield Case(
            "dense_dynamic",
            {"rows": rows, "inputs": inputs, "outputs": outputs},
            contenders,
            operations=2 * rows * inputs * outputs,
            quality={name: _decibels(wanted, f()) for name, f in contenders.items()},
        )


def _peers(
    w: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], x: np.ndarray[Any, Any]
) -> dict[str, Callable[[], Any]]:
    contenders: dict[str, Callable[[], Any]] = {}
    for make in (_torch, _onnxruntime, _openvino):
        try:
            contenders |= make(w, bias, x)
        except ImportError:
            continue
    return contenders


def _torch(w: Any, bias: Any, x: Any) -> dict[str, Callable[[], Any]]:
    import torch

    linear = torch.nn.Linear(w.shape[1], w.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(w))
        linear.bias.copy_(torch.from_numpy(bias))
    xt = torch.from_numpy(x)
    contenders: dict[str, Callable[[], Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(linear)
        try:
            dynamic = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
        except (RuntimeError, AttributeError):
            dynamic = None
    linear.requires_grad_(False)
    if dynamic is not None:
        contenders["torch dynamic int8"] = lambda: dynamic(xt).numpy()
    contenders["torch fp32"] = lambda: linear(xt).numpy()
    return contenders


def _model(w: Any, bias: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "m"),
        helper.make_node("Add", ["m", "b"], ["y"], "a"),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [value("x", TensorProto.FLOAT, ["N", w.shape[1]])],
        [value("y", TensorProto.FLOAT, ["N", w.shape[0]])],
        [
            numpy_helper.from_array(np.ascontiguousarray(w.T), "w"),
            numpy_helper.from_array(bias, "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _onnxruntime(w: Any, bias: Any, x: Any) -> dict[str, Callable[[], Any]]:
    import logging

    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tersor.get_threads()
    options.log_severity_level = 3
    contenders: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, small = (os.path.join(folder, f"{n}.onnx") for n in ("plain", "small"))
        with open(plain, "wb") as file:
            file.write(_model(w, bias))
        logging.disable(logging.WARNING)
        quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True)
        logging.disable(logging.NOTSET)
        for name, path in (("dynamic int8", small), ("fp32", plain)):
            run = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            contenders[f"onnxruntime {name}"] = lambda s=run: s.run(None, {"x": x})[0]
    return contenders


def _openvino(w: Any, bias: Any, x: Any) -> dict[str, Callable[[], Any]]:
    import openvino

    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plain.onnx")
        with open(path, "wb") as file:
            file.write(_model(w, bias))
        model = core.read_model(path)
        config = {"INFERENCE_NUM_THREADS": tersor.get_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        plain = core.compile_model(model, "CPU", config).create_infer_request()
    return {"openvino fp32": lambda: plain.infer({0: x})[0]}


def _decibels(wanted: np.ndarray[Any, Any], got: Any) -> float:
    error = np.square(wanted - np.asarray(got)).sum()
    return float(10 * np.log10(np.square(wanted).sum() / error))


if __name__ == "__main__":
    main(__doc__, cases)
