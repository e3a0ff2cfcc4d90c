"""OpenVINO on the CPU: fp32 (asked for: its default is bf16 where it can) and the QDQ model."""

import contextlib

import numpy as np
import openvino

PRECISIONS = ("fp32", "int8")


def model_file(folder, precision):
    """See the package."""
    return folder / f"{precision}.onnx"


def load(folder, precision, x, threads):
    """See the package."""
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }

    def request(batch):
        model = core.read_model(model_file(folder, precision))
        # A fixed batch is faster, but quantize_static leaves some networks that refuse one.
        with contextlib.suppress(RuntimeError):
            model.reshape([batch, *x.shape[1:]])
        return core.compile_model(model, "CPU", options).create_infer_request()

    main = request(len(x))

    def predict(images):
        other = request(len(images))
        return np.array(next(iter(other.infer([images]).values())))

    return lambda: main.infer([x], share_inputs=True, share_outputs=True), predict
