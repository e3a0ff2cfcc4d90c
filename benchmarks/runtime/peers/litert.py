"""LiteRT with XNNPACK: fp32 and int8, where a .tflite file exists."""

import numpy as np

PRECISIONS = ("fp32", "int8")


def model_file(folder, precision):
    """See the package."""
    return folder / f"{precision}.tflite"


def load(folder, precision, x, threads):
    """See the package."""
    path = model_file(folder, precision)
    if not path.exists():
        return None
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    inputs, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def resize(batch):
        interpreter.resize_tensor_input(inputs["index"], [batch, *inputs["shape"][1:]])
        interpreter.allocate_tensors()

    def run(images):
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(outputs["index"])

    def channels_last(images):
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if inputs["dtype"] == np.float32:
            return images
        scale, zero_point = inputs["quantization"]
        return np.clip(np.rint(images / scale) + zero_point, -128, 127).astype(np.int8)

    def predict(images):
        resize(len(images))
        result = run(channels_last(images)).copy()
        resize(len(x))
        return result

    batch = channels_last(x)
    resize(len(x))
    return lambda: run(batch), predict
