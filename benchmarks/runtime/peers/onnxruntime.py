"""ONNX Runtime on the CPU: fp32, and its own static int8 quantization."""

import onnxruntime

PRECISIONS = ("fp32", "int8")


def model_file(folder, precision):
    """See the package."""
    return folder / f"{precision}.onnx"


def load(folder, precision, x, threads):
    """See the package."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model_file(folder, precision)), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"input": x}), lambda x: session.run(None, {"input": x})[0]
