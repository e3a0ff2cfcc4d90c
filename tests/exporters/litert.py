"""Running .tflite files: LiteRT, and TFLite Micro where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

interpreter = pytest.importorskip("ai_edge_litert.interpreter")


def litert(data, inputs, reference=True):
    """Outputs of a model for inputs of any batch.

    `reference`: the kernels that round as TFLite Micro does; otherwise XNNPACK's.
    """
    kinds = interpreter.OpResolverType
    kind = kinds.BUILTIN_REF if reference else kinds.AUTO
    model = interpreter.Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=kind
    )
    details = model.get_input_details()
    for detail, x in zip(details, inputs, strict=True):
        if tuple(detail["shape"]) != x.shape:
            model.resize_tensor_input(detail["index"], x.shape)
    model.allocate_tensors()
    for detail, x in zip(details, inputs, strict=True):
        model.set_tensor(detail["index"], x)
    model.invoke()
    return [model.get_tensor(d["index"]) for d in model.get_output_details()]


def micro(data, x, arena_bytes=1 << 22):
    """Outputs of TFLite Micro, one sample after the other; skips where it is not installed."""
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="pip install --pre tflite-micro"
    )
    model = runtime.Interpreter.from_bytes(data, arena_size=arena_bytes)
    rows = []
    for i in range(len(x)):
        model.set_input(x[i : i + 1], 0)
        model.invoke()
        rows.append(model.get_output(0))
    return np.concatenate(rows)
