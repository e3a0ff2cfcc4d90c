"""ONNX Runtime's quantize_static, per channel."""

import time

import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static


class Reader(CalibrationDataReader):
    """Batches of 32 for the input of the network."""

    def __init__(self, name, x):
        self.batches = iter([{name: x[i : i + 32]} for i in range(0, len(x), 32)])

    def get_next(self):
        """See the base class."""
        return next(self.batches, None)


def quantize(folder, x, target, threads):
    """See the package."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    path, written = folder / "fp32.onnx", target / "onnxruntime.onnx"
    name = onnxruntime.InferenceSession(path, options).get_inputs()[0].name
    start = time.perf_counter()
    quantize_static(
        path,
        written,
        Reader(name, x),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    seconds = time.perf_counter() - start
    session = onnxruntime.InferenceSession(written, options)
    return seconds, written.stat().st_size, lambda batch: session.run(None, {name: batch})[0]
