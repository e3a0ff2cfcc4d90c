"""Dense layers on 4-bit and 8-bit weights (dense_codes) against float32 matrix-vector products."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import Case, main
from tersor.quantization import DenseCodes, choose_qparams, quantize

SHAPES = ((4096, 1024), (4096, 4096))  # outputs, inputs
ROWS = (1, 4)


def cases() -> Iterator[Case]:
    """Every shape and number of rows; operations are those of the float product."""
    for outputs, inputs in SHAPES:
        rng = np.random.default_rng(0)
        w = (rng.normal(size=(outputs, inputs)) / inputs**0.5).astype(np.float32)
        layers = {name: _layer(w, *form) for name, form in FORMATS.items()}
        for rows in ROWS:
            x = rng.normal(size=(rows, inputs)).astype(np.float32)
            y = np.empty((rows, outputs), np.float32)
            contenders = _floats(w, x)
            for name, dense in layers.items():
                contenders[f"tersor {name}"] = lambda f=dense, y=y, x=x: f(x, out=y)
            contenders |= _low_bits(w, x)
            wanted = x @ w.T
            quality = {n: _decibels(wanted, f()) for n, f in contenders.items() if "int" in n}
            yield Case(
                "dense_codes",
                {"outputs": outputs, "inputs": inputs, "rows": rows},
                contenders,
                operations=2 * rows * outputs * inputs,
                baseline="torch fp32" if "torch fp32" in contenders else "numpy fp32",
                quality=quality,
            )


FORMATS: dict[str, tuple[int, int | None]] = {
    "int4 group 32": (4, 32),
    "int4 group 128": (4, 128),
    "int4 per channel": (4, None),
    "int8 per channel": (8, None),
}


def _layer(w: np.ndarray[Any, Any], bits: int, group: int | None) -> DenseCodes:
    q = choose_qparams(w, bits=bits, axis=0 if group is None else 1, group_size=group)
    return DenseCodes(quantize(w, q), q)


def _floats(w: np.ndarray[Any, Any], x: np.ndarray[Any, Any]) -> dict[str, Callable[[], Any]]:
    """Float32 products: the fastest of them is what a layer on codes is measured by."""
    contenders: dict[str, Callable[[], Any]] = {"numpy fp32": lambda: x @ w.T}
    graph = tersor.Graph()
    ids = [graph.add_input("x", "float32", (None, w.shape[1])), graph.add_constant("w", w)]
    graph.set_outputs([graph.add_node("dense", ids)])
    session = tersor.Session(graph, tersor.get_threads(), micro_batch=16)
    contenders["tersor fp32 session"] = lambda: session(x)
    try:
        import torch
    except ImportError:
        pass
    else:
        wt, xt = torch.from_numpy(w), torch.from_numpy(x)
        contenders["torch fp32"] = lambda: torch.nn.functional.linear(xt, wt)
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return contenders
    ort = _onnx_session(w, bits=32)
    contenders["onnxruntime fp32"] = lambda: ort.run(None, {"x": x})
    return contenders


def _low_bits(w: np.ndarray[Any, Any], x: np.ndarray[Any, Any]) -> dict[str, Callable[[], Any]]:
    """Peers on 4-bit weights."""
    try:
        ort = _onnx_session(w, bits=4)
    except Exception:
        return {}
    return {"onnxruntime int4 group 32": lambda: ort.run(None, {"x": x})[0]}


def _onnx_session(w: np.ndarray[Any, Any], bits: int) -> Any:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    outputs, inputs = w.shape
    if bits == 32:
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
        constants = [numpy_helper.from_array(w, "w")]
    else:
        q = choose_qparams(w, bits=4, axis=1, group_size=32)
        codes = (quantize(w, q) + 8).astype(np.uint8).reshape(outputs, -1, 16, 2)
        packed = codes[..., 0] | codes[..., 1] << 4
        attributes = {"K": inputs, "N": outputs, "bits": 4, "block_size": 32}
        node = helper.make_node(
            "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **attributes
        )
        constants = [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(q.scale, "s")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "gemv",
        [value("x", TensorProto.FLOAT, ["N", inputs])],
        [value("y", TensorProto.FLOAT, ["N", outputs])],
        constants,
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tersor.get_threads()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gemv.onnx")
        onnx.save(model, path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _decibels(wanted: np.ndarray[Any, Any], got: Any) -> float:
    error = np.square(wanted - np.asarray(got)).sum()
    return float(10 * np.log10(np.square(wanted).sum() / error))


if __name__ == "__main__":
    main(__doc__, cases)
