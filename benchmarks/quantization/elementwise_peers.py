"""The peers of bench_elementwise: ONNX Runtime, torch eager and torch.compile, one thread each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


def onnx_call(
    operator: str,
    inputs: dict[str, np.ndarray],
    output: Any,
    shape: tuple[int, ...],
    **attributes: Any,
) -> Call | None:
    """Return a call of one ONNX operator with bound memory, or None without ONNX Runtime."""
    try:
        import onnx
        import onnxruntime
        from onnx import helper
    except ImportError:
        return None
    types = {np.dtype(np.float32): 1, np.dtype(np.int8): 3, np.dtype(np.float16): 10}
    first, *constants = inputs
    initializers = [
        helper.make_tensor(
            name, types[inputs[name].dtype], inputs[name].shape, inputs[name].tobytes(), raw=True
        )
        for name in constants
    ]
    node = helper.make_node(operator, list(inputs), ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "peer",
        [helper.make_tensor_value_info(first, types[inputs[first].dtype], shape)],
        [helper.make_tensor_value_info("y", output, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs[first])
        binding.bind_ortvalue_input(first, value)
        binding.bind_output("y")
        session.run_with_iobinding(binding)
        result = binding.get_outputs()[0]
        binding.bind_ortvalue_output("y", result)
        session.run_with_iobinding(binding)
    except Exception:  # no kernel for this type
        return None
    return lambda: session.run_with_iobinding(binding)


def compiled(function: Callable[..., Any], *arguments: Any) -> Call | None:
    """Return a call of the compiled function, or None where torch cannot compile it."""
    import torch

    fast = torch.compile(function, dynamic=False)
    try:
        fast(*arguments)
    except Exception:
        return None
    return lambda: fast(*arguments)


__all__ = ["compiled", "onnx_call"]
