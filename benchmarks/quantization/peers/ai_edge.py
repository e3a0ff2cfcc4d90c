"""ai-edge-quantizer (LiteRT), static int8; only for networks that come as .tflite."""

import time

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

KEY, INPUT = "serving_default", "image"


def with_signature(model):
    """The same model with a signature, which the quantizer asks for and old files lack."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = KEY, 0
    ends = ((INPUT, tree.subgraphs[0].inputs), ("logits", tree.subgraphs[0].outputs))
    maps = []
    for name, tensors in ends:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(tensors[0])
        maps.append([entry])
    signature.inputs, signature.outputs = maps
    tree.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(model) + 1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def quantize(folder, x, target, threads):
    """See the package."""
    path, written = folder / "fp32.tflite", target / "ai_edge.tflite"
    if not path.exists():
        return None
    model = with_signature(path.read_bytes())
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    start = time.perf_counter()
    worker = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    seen = worker.calibrate({KEY: [{INPUT: row[None]} for row in images]})
    quantized = worker.quantize(seen).quantized_model
    seconds = time.perf_counter() - start
    written.write_bytes(quantized)
    interpreter = Interpreter(str(written), num_threads=threads)
    runner = interpreter.get_signature_runner(KEY)
    scale, zero_point = runner.get_input_details()[INPUT]["quantization"]

    def predict(batch):
        rows = np.rint(batch.transpose(0, 2, 3, 1) / scale) + zero_point
        rows = np.clip(rows, -128, 127).astype(np.int8)
        return np.concatenate([next(iter(runner(**{INPUT: row[None]}).values())) for row in rows])

    return seconds, len(quantized), predict
