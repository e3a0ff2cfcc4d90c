"""Every operator of the native IR as ONNX nodes on float values, without fused activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .onnx_writer import OnnxWriter

# Appends the nodes of one operator: (writer, node, float inputs, name of the float result).
Emit = Callable[[OnnxWriter, Any, list[str], str], None]


def _plain(op: str, **attributes: str) -> Emit:
    """The operator of the same meaning; attributes: ONNX name = native name."""

    def emit(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
        given = {name: node.attributes[native] for name, native in attributes.items()}
        w.node(op, inputs, output, node.name, **given)

    return emit


def activated(w: OnnxWriter, node: Any, before: str, output: str) -> None:
    """Append the activation that is fused into an operator."""
    if node.attributes["activation"] == "relu":
        w.node("Relu", [before], output)
    else:
        _clipped(w, before, output, "", 0.0, 6.0)


def _clipped(w: OnnxWriter, x: str, output: str, name: str, low: float, high: float) -> None:
    bounds = [
        w.array(np.float32(value), w.fresh(f"{output}:{end}"))
        for end, value in (("min", low), ("max", high))
    ]
    w.node("Clip", [x, *bounds], output, name)


def _clip(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    _clipped(w, inputs[0], output, node.name, node.attributes["min"], node.attributes["max"])


def _window(node: Any, *names: str) -> dict[str, Any]:
    """Attributes of strides and the like; an empty list stands for the operator's default."""
    found = {name: list(node.attributes[name]) for name in names}
    return {name: values for name, values in found.items() if values}


def _conv(op: str) -> Emit:
    more = ("output_padding",) if op == "ConvTranspose" else ()

    def emit(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
        attributes = _window(node, "strides", "pads", "dilations", *more)
        shape = list(w.edges[node.inputs[1]].shape[2:])
        group = int(node.attributes["groups"])
        w.node(op, inputs, output, node.name, group=group, kernel_shape=shape, **attributes)

    return emit


def _pool(op: str, *more: str) -> Emit:
    def emit(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
        attributes = _window(node, "strides", "pads")
        for name in ("ceil_mode", *more):
            attributes[name] = int(node.attributes[name])
        kernel = list(node.attributes["kernel"])
        w.node(op, inputs, output, node.name, kernel_shape=kernel, **attributes)

    return emit


def _dense(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    """Gemm for rows; MatMul and Add where there are more axes."""
    if len(w.edges[node.inputs[0]].shape) == 2:
        w.node("Gemm", inputs, output, node.name, transB=1)
        return
    weight = w.node("Transpose", [inputs[1]], w.fresh(f"{inputs[1]}:transposed"), perm=[1, 0])
    if len(inputs) == 2:
        w.node("MatMul", [inputs[0], weight], output, node.name)
        return
    product = w.node("MatMul", [inputs[0], weight], w.fresh(f"{output}:product"), node.name)
    w.node("Add", [product, inputs[2]], output)


def _flat_dense(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    """Rows of all leading axes together: the form that runtimes have for codes."""
    shape = w.edges[node.inputs[0]].shape
    rest = list(w.edges[node.outputs[0]].shape[1:])
    rows = w.node(
        "Reshape",
        [inputs[0], w.integers([-1, shape[-1]], f"{output}:rows")],
        w.fresh(f"{output}:flat"),
    )
    w.node("Gemm", [rows, *inputs[1:]], w.fresh(f"{output}:gemm"), node.name, transB=1)
    last = w.nodes[-1].output[0]
    w.node("Reshape", [last, w.integers([-1, *rest], f"{output}:shape")], output)


def _silu(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    gate = w.node("Sigmoid", inputs, w.fresh(f"{output}:gate"))
    w.node("Mul", [inputs[0], gate], output, node.name)


def _reduce(op: str) -> Emit:
    def emit(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
        axes = w.integers(node.attributes["axes"], f"{output}:axes")
        keepdims = int(node.attributes["keepdims"])
        w.node(op, [*inputs, axes], output, node.name, keepdims=keepdims)

    return emit


def _slice(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    a = node.attributes
    steps = list(a["steps"]) or [1] * len(a["axes"])
    parts = (("starts", a["starts"]), ("ends", a["ends"]), ("axes", a["axes"]), ("steps", steps))
    limits = [w.integers(values, f"{output}:{name}") for name, values in parts]
    w.node("Slice", [*inputs, *limits], output, node.name)


def _pad(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    pads = w.integers(node.attributes["pads"], f"{output}:pads")
    mode = node.attributes["mode"]
    fill = []
    if mode == "constant":
        fill = [w.array(np.float32(node.attributes["value"]), w.fresh(f"{output}:value"))]
    w.node("Pad", [*inputs, pads, *fill], output, node.name, mode=mode)


def _resize(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    a = node.attributes
    sizes = w.integers(a["sizes"], f"{output}:sizes")
    w.node(
        "Resize", [inputs[0], "", "", sizes], output, node.name,
        mode=a["mode"], coordinate_transformation_mode=a["coordinates"], nearest_mode=a["nearest"],
        axes=list(range(2, 2 + len(a["sizes"]))),
    )  # fmt: skip


def _reshape(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    shape = w.integers(node.attributes["shape"], f"{output}:shape")
    w.node("Reshape", [*inputs, shape], output, node.name)


def _expand(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    # A one broadcasts against the batch, whatever its size.
    sizes = [1 if d < 0 else d for d in node.attributes["shape"]]
    w.node("Expand", [*inputs, w.integers(sizes, f"{output}:shape")], output, node.name)


def _cast(w: OnnxWriter, node: Any, inputs: list[str], output: str) -> None:
    to = w.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(node.attributes["to"]))
    w.node("Cast", inputs, output, node.name, to=to)


EMITTERS: dict[str, Emit] = {
    "abs": _plain("Abs"),
    "add": _plain("Add"),
    "avg_pool": _pool("AveragePool", "count_include_pad"),
    "batch_norm": _plain("BatchNormalization", epsilon="epsilon"),
    "cast": _cast,
    "clip": _clip,
    "concat": _plain("Concat", axis="axis"),
    "conv": _conv("Conv"),
    "conv_transpose": _conv("ConvTranspose"),
    "dense": _dense,
    "div": _plain("Div"),
    "elu": _plain("Elu", alpha="alpha"),
    "erf": _plain("Erf"),
    "exp": _plain("Exp"),
    "expand": _expand,
    "gather": _plain("Gather", axis="axis"),
    "gelu": _plain("Gelu", approximate="approximate"),
    "hard_sigmoid": _plain("HardSigmoid", alpha="alpha", beta="beta"),
    "hard_swish": _plain("HardSwish"),
    "identity": _plain("Identity"),
    "layer_norm": _plain("LayerNormalization", axis="axis", epsilon="epsilon"),
    "leaky_relu": _plain("LeakyRelu", alpha="alpha"),
    "log": _plain("Log"),
    "log_softmax": _plain("LogSoftmax", axis="axis"),
    "matmul": _plain("MatMul"),
    "max_pool": _pool("MaxPool"),
    "maximum": _plain("Max"),
    "minimum": _plain("Min"),
    "mul": _plain("Mul"),
    "neg": _plain("Neg"),
    "pad": _pad,
    "pow": _plain("Pow"),
    "prelu": _plain("PRelu"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_mean": _reduce("ReduceMean"),
    "reduce_sum": _reduce("ReduceSum"),
    "relu": _plain("Relu"),
    "reshape": _reshape,
    "resize": _resize,
    "sigmoid": _plain("Sigmoid"),
    "silu": _silu,
    "slice": _slice,
    "softmax": _plain("Softmax", axis="axis"),
    "softplus": _plain("Softplus"),
    "sqrt": _plain("Sqrt"),
    "sub": _plain("Sub"),
    "tanh": _plain("Tanh"),
    "transpose": _plain("Transpose", perm="perm"),
}
# Other forms for operators on codes.
ON_CODES: dict[str, Emit] = {"dense": _flat_dense}

__all__ = ["EMITTERS", "ON_CODES", "Emit", "activated"]
