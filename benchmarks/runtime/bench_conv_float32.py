"""Float convolutions and dense layers of real networks: tersor, oneDNN, PyTorch, ONNX Runtime.

The first case is a product of large matrices: what this machine reaches at best with direct sums.
Winograd convolutions may exceed it, since GOP/s count the direct sum's operations. `tersor` is the
session's own choice, `tersor-onednn` the oneDNN provider alone; a call of theirs includes the
reorder to channels last and back that a network does once, so that `quality` shows the GOP/s of the
layer alone, as `Session.profile` measures it inside a network. Kernels: conv_line_float32,
depthwise_line_float32, and winograd_input_float32 and winograd_output_float32 around the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tersor
from benchmarks.harness import Case, main

Floats = NDArray[np.float32]

# Network, size, input and output channels, kernel, stride, groups.
LAYERS = [
    ("resnet20", 32, 3, 16, 3, 1, 1),
    ("resnet20", 32, 16, 16, 3, 1, 1),
    ("resnet20", 32, 16, 32, 3, 2, 1),
    ("resnet20", 16, 32, 32, 3, 1, 1),
    ("resnet20", 8, 64, 64, 3, 1, 1),
    ("mobilenetv2", 224, 3, 32, 3, 2, 1),
    ("mobilenetv2", 112, 32, 32, 3, 1, 32),
    ("mobilenetv2", 112, 16, 96, 1, 1, 1),
    ("mobilenetv2", 112, 96, 96, 3, 2, 96),
    ("mobilenetv2", 56, 144, 24, 1, 1, 1),
    ("mobilenetv2", 28, 192, 32, 1, 1, 1),
    ("mobilenetv2", 14, 96, 576, 1, 1, 1),
    ("mobilenetv2", 14, 576, 576, 3, 1, 576),
    ("mobilenetv2", 7, 960, 320, 1, 1, 1),
    ("resnet18", 224, 3, 64, 7, 2, 1),
    ("resnet18", 56, 64, 64, 3, 1, 1),
    ("resnet18", 28, 128, 256, 3, 2, 1),
    ("resnet18", 14, 256, 256, 3, 1, 1),
    ("efficientnet", 28, 240, 240, 5, 1, 240),
]
DENSE = [(1, 1280, 1000), (64, 768, 3072)]


def tersor_graph(w: Floats, shape: tuple[int, ...], attributes: dict[str, Any]) -> tersor.Graph:
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, *shape[1:]))
    op = "dense" if w.ndim == 2 else "conv"
    graph.set_outputs([graph.add_node(op, [x, graph.add_constant("w", w)], attributes)])
    return graph


def tersor_call(graph: tersor.Graph, x: Floats, provider: str) -> Callable[[], Any]:
    session = tersor.Session(graph, threads=0, provider=provider)
    y = session(x)
    return lambda: session(x, out=y)


def alone(graph: tersor.Graph, x: Floats, provider: str) -> float:
    """GOP/s of the layer without the reorders around it."""
    profile = tersor.Session(graph, threads=0, provider=provider).profile(x, repeats=50)
    layer = next(row for row in profile if row.macs)
    return 2 * layer.gmacs_per_second


def torch_call(w: Floats, x: Floats, stride: int, pad: int, groups: int) -> Callable[[], Any]:
    import torch

    tx, tw = torch.from_numpy(x), torch.from_numpy(w)
    functional = torch.nn.functional

    @torch.inference_mode()
    def call() -> Any:
        if tw.ndim == 2:
            return functional.linear(tx, tw)
        return functional.conv2d(tx, tw, None, stride, pad, 1, groups)

    return call


def onnxruntime_call(w: Floats, x: Floats, attributes: dict[str, Any]) -> Callable[[], Any]:
    import onnx
    import onnxruntime

    helper = onnx.helper
    if w.ndim == 2:
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    else:
        node = helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            strides=attributes["strides"],
            pads=attributes["pads"],
            group=attributes["groups"],
        )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tersor.get_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})


def case(
    op: str,
    sizes: dict[str, Any],
    w: Floats,
    x: Floats,
    macs: int,
    attributes: dict[str, Any],
    window: tuple[int, int, int] = (1, 0, 1),
) -> Case:
    """One layer by all contenders; `window` is stride, padding, groups."""
    graph = tersor_graph(w, x.shape, attributes)
    calls, quality = {}, {}
    for name, provider in (("tersor", ""), ("tersor-onednn", "onednn")):
        calls[name] = tersor_call(graph, x, provider)
        quality[name] = alone(graph, x, provider)
    for name, make in (
        ("torch", lambda: torch_call(w, x, *window)),
        ("onnxruntime", lambda: onnxruntime_call(w, x, attributes)),
    ):
        try:
            calls[name] = make()
        except ImportError:
            continue
    return Case(op, sizes, calls, operations=2 * macs, quality=quality)


def cases() -> Iterator[Case]:
    """Batch 1, and 8 where a network of small images is run in batches."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Floats:
        return rng.normal(size=shape).astype(np.float32)

    side = 768
    w, x = draw(side, side), draw(side, side)
    yield case("peak", {"side": side}, w, x, side**3, {})
    for network, size, inputs, outputs, kernel, stride, groups in LAYERS:
        pad = kernel // 2
        attributes = {"strides": [stride] * 2, "pads": [pad] * 4, "groups": groups}
        w = draw(outputs, inputs // groups, kernel, kernel)
        for batch in (1, 8) if network == "resnet20" else (1,):
            x = draw(batch, inputs, size, size)
            macs = batch * outputs * (-(-size // stride)) ** 2 * w[0].size
            sizes = {
                "network": network,
                "batch": batch,
                "size": size,
                "channels": f"{inputs}-{outputs}",
            }
            sizes |= {"kernel": kernel, "stride": stride, "groups": groups}
            op = "conv_float32"
            if groups == inputs:
                op = "depthwise_float32"
            elif kernel == 3 and stride == 1 and inputs > 3:
                op = "winograd_float32"
            yield case(op, sizes, w, x, macs, attributes, (stride, pad, groups))
    for rows, inputs, outputs in DENSE:
        w, x = draw(outputs, inputs), draw(rows, inputs)
        sizes = {"rows": rows, "channels": f"{inputs}-{outputs}"}
        yield case("dense_float32", sizes, w, x, rows * w.size, {})


if __name__ == "__main__":
    main(__doc__, cases)
