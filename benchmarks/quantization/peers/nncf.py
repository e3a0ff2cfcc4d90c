"""NNCF's post-training quantization, run by OpenVINO."""

import time

import nncf
import numpy as np
import openvino


def quantize(folder, x, target, threads):
    """See the package."""
    nncf.set_log_level(40)
    core = openvino.Core()
    model = core.read_model(folder / "fp32.onnx")
    start = time.perf_counter()
    images = nncf.Dataset([row[None] for row in x])
    quantized = nncf.quantize(model, images, subset_size=len(x))
    seconds = time.perf_counter() - start
    openvino.save_model(quantized, target / "nncf.xml", compress_to_fp16=False)
    size = sum((target / f"nncf.{part}").stat().st_size for part in ("xml", "bin"))
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(target / "nncf.xml", "CPU", options).create_infer_request()
    return seconds, size, lambda batch: np.array(next(iter(request.infer([batch]).values())))
