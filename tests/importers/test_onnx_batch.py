"""ONNX networks that bring the samples of a batch together are refused; others keep working."""

from __future__ import annotations

import numpy as np
import pytest

import tersor

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tersor.importers.onnx import from_onnx  # noqa: E402


def n(op, inputs, output, **attributes):
    names = ["" if i == "-" else i for i in inputs.split()]
    return helper.make_node(op, names, output.split(), f"n_{output}", **attributes)


def model_of(nodes, constants=None, inputs=None, dtype=TensorProto.FLOAT, opset=17):
    inputs = {"x": ("N", 4)} if inputs is None else inputs
    constants = {
        k: np.asarray(v, np.int64) if np.asarray(v).dtype.kind in "iu" else np.asarray(v)
        for k, v in (constants or {}).items()
    }
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(k, dtype, list(s)) for k, s in inputs.items()],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def check(nodes, constants=None, shape=(4,), batches=(1, 2, 5), opset=17):
    model = model_of(nodes, constants, {"x": ("N", *shape)}, opset=opset)
    runtime = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    session = tersor.Session(from_onnx(model))
    for batch in batches:
        x = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        (expected,) = runtime.run(None, {"x": x})
        result = session(x)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


SHAPE = n("Shape", "x", "s")
SIZE = [SHAPE, n("Gather", "s zero", "size", axis=0)]
FLAT = n("Transpose", "x", "t", perm=[1, 0])

MIXING = {
    "gram": ([FLAT, n("MatMul", "x t", "y")], {}),
    "gram_of_features": ([FLAT, n("MatMul", "t x", "y")], {}),
    "gemm": ([n("Gemm", "x x", "y", transB=1)], {}),
    "contracted": ([FLAT, n("MatMul", "t w", "y")], {"w": np.ones((1, 3), np.float32)}),
    "pairs": (
        [
            n("Unsqueeze", "x one", "a"),
            n("Unsqueeze", "x zeros", "b"),
            n("Sub", "a b", "d"),
            n("ReduceSum", "d two", "y", keepdims=0),
        ],
        {"one": [1], "zeros": [0], "two": [-1]},
    ),
    "first": ([n("Slice", "x a b c", "y")], {"a": [0], "b": [1], "c": [0]}),
    "all_but_one": ([n("Slice", "x a b c", "y")], {"a": [1], "b": [99], "c": [0]}),
    "last": ([n("Slice", "x a b c", "y")], {"a": [-1], "b": [99], "c": [0]}),
    "reversed": (
        [n("Slice", "x a b c d", "y")],
        {"a": [-1], "b": [-99], "c": [0], "d": [-1]},
    ),
    "taken": ([n("Gather", "x a", "g"), n("Add", "x g", "y")], {"a": 0}),
    "size": (
        [*SIZE, n("Cast", "size", "f", to=TensorProto.FLOAT), n("Div", "x f", "y")],
        {"zero": 0},
    ),
    "size_in_a_row": (
        [
            *SIZE,
            n("Cast", "size", "f", to=TensorProto.FLOAT),
            n("Mul", "f f", "g"),
            n("Sqrt", "g", "h"),
            n("Mul", "x h", "y"),
        ],
        {"zero": 0},
    ),
    "positions": (
        [
            *SIZE,
            n("Range", "zero size unit", "r"),
            n("Cast", "r", "f", to=TensorProto.FLOAT),
            n("Unsqueeze", "f last", "p"),
            n("Add", "x p", "y"),
        ],
        {"zero": 0, "unit": 1, "last": [1]},
    ),
    "reshape_of_two_rows": (
        [n("Reshape", "x s", "a"), n("Softmax", "a", "b"), n("Reshape", "b t", "y")],
        {"s": [2, -1], "t": [-1, 4]},
    ),
    "transposed_rows": (
        [FLAT, n("Reshape", "t s", "b"), n("Relu", "b", "y")],
        {"s": [-1, 4]},
    ),
    "merged_softmax": (
        [n("Reshape", "x s", "a"), n("Softmax", "a", "b", axis=0), n("Reshape", "b t", "y")],
        {"s": [-1, 2], "t": [-1, 4]},
    ),
    "merged_first": (
        [n("Reshape", "x s", "a"), n("Slice", "a b c d", "e"), n("Reshape", "e t", "y")],
        {"s": [-1, 2], "b": [0], "c": [1], "d": [0], "t": [-1, 2]},
    ),
    "joined": ([n("Concat", "x x", "y", axis=0)], {}),
    "padded": ([n("Pad", "x p", "y")], {"p": [1, 0, 0, 0]}),
    "repeated": ([n("Tile", "x r", "y")], {"r": [2, 1]}),
    "summed": ([n("ReduceSum", "x", "y", keepdims=0)], {}),
    "table": ([n("Add", "x w", "y")], {"w": np.ones((3, 4), np.float32)}),
    "parts": (
        [n("SplitToSequence", "x p", "q", axis=0), n("SequenceAt", "q i", "y")],
        {"p": 1, "i": 0},
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_is_refused(name):
    nodes, constants = MIXING[name]
    with pytest.raises(
        tersor.UnsupportedError, match=r"node 'n_\w+' \(\w+\) mixes the samples of a batch"
    ):
        from_onnx(model_of(nodes, constants))


def test_convolution_of_a_moved_batch():
    nodes = [
        n("Transpose", "x", "t", perm=[1, 0, 2, 3]),
        n("MaxPool", "t", "y", kernel_shape=[2, 2]),
    ]
    with pytest.raises(tersor.UnsupportedError, match=r"MaxPool\) mixes .*\[1, batch, 4, 4\]"):
        from_onnx(model_of(nodes, {}, {"x": ("N", 1, 4, 4)}))


def test_shape_arithmetic_is_not_mixing():
    rebuilt = [
        *SIZE,
        n("Unsqueeze", "size zeros", "u"),
        n("Concat", "u rest", "t", axis=0),
        n("Reshape", "x t", "a"),
        n("Softmax", "a", "b"),
        n("Reshape", "b s", "y"),
    ]
    check(rebuilt, {"zero": 0, "zeros": [0], "rest": [2, 2]})
    multiplied = [
        *SIZE,
        n("Mul", "size two", "m"),
        n("Unsqueeze", "m zeros", "u"),
        n("Concat", "u rest", "t", axis=0),
        n("Reshape", "x t", "a"),
        n("Softmax", "a", "b"),
        n("Reshape", "b s", "y"),
    ]
    check(multiplied, {"zero": 0, "zeros": [0], "two": 2, "rest": [-1]})
    check(
        [n("Reshape", "x a", "m"), n("Softmax", "m", "p"), n("Reshape", "p b", "y")],
        {"a": [-1, 2], "b": [-1, 4]},
    )


def test_whole_slices_and_repeated_constants():
    check([*SIZE, n("Reshape", "size one", "u"), n("Slice", "x zeros u zeros", "y")],
          {"zero": 0, "one": [1], "zeros": [0]})  # fmt: skip
    row = {"c": np.arange(4, dtype=np.float32)[None]}
    check([SHAPE, n("Expand", "c s", "e"), n("Add", "x e", "y")], row)
    check([SHAPE, n("Expand", "c s", "e"), n("Concat", "x e", "y", axis=1)], row)
    crossed = [SHAPE, n("Expand", "c s", "e"), n("Transpose", "e", "f", perm=[1, 0])]
    with pytest.raises(tersor.UnsupportedError, match="mixes the samples"):
        from_onnx(model_of([*crossed, n("Unsqueeze", "x i", "z"), n("Add", "z f", "y")],
                           {**row, "i": [1]}))  # fmt: skip


def test_a_condition_on_the_inputs():
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"], "r")], "b", [], [out])
    nodes = [
        n("ReduceMax", "x", "m", axes=[1], keepdims=0),
        helper.make_node("If", ["m"], ["y"], "if", then_branch=branch, else_branch=branch),
    ]
    with pytest.raises(tersor.UnsupportedError, match=r"node 'if' \(If\): the condition \('m'\)"):
        from_onnx(model_of(nodes))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "input 'z' is a scalar that all samples of a batch would share.*constant"),
        ((1, 4), r"input 'z' of shape \(1, 4\) has no open.*shapes=\{'z': \(None, 4\)\}, or make"),
        ((4,), r"input 'z' of shape \(4,\) has no open.*shapes=\{'z': \(None,\)\}, or make it"),
    ],
)
def test_inputs_without_a_batch(shape, message):
    model = model_of([n("Mul", "x z", "y")], {}, {"x": ("N", 4), "z": shape})
    with pytest.raises(tersor.UnsupportedError, match=message):
        from_onnx(model)


def test_shapes_of_unknown_inputs():
    model = model_of([n("Relu", "x", "y")], {}, {"x": ("N", 3, "H")})
    with pytest.raises(ValueError, match=r"^import: shapes must name inputs \['x'\], got \['q'\]"):
        from_onnx(model, shapes={"q": (None, 3, 8)})


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_networks_run_in_float32(dtype):
    model = model_of([n("Relu", "x", "y")], dtype=dtype)
    session = tersor.Session(from_onnx(model))
    x = np.array([[-1, 0, 1.5, 2]], helper.tensor_dtype_to_np_dtype(dtype))
    result = session(x)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.maximum(x.astype(np.float32), 0))


def test_sequences():
    for split in (2, [1, 3]):
        check(
            [
                n("SplitToSequence", "x p", "q", axis=1),
                n("SequenceAt", "q i", "a"),
                n("SequenceAt", "q j", "b"),
                n("Concat", "b a", "y", axis=1),
            ],
            {"p": split, "i": 0, "j": -1},
        )
    check(
        [n("SplitToSequence", "x", "q", axis=1, keepdims=0), n("SequenceAt", "q i", "y")],
        {"i": 2},
        shape=(4, 3),
    )
    with pytest.raises(tersor.ImportFormatError, match="position must be one of 2 parts"):
        from_onnx(
            model_of(
                [n("SplitToSequence", "x p", "q", axis=1), n("SequenceAt", "q i", "y")],
                {"p": 2, "i": 2},
            )
        )


def test_reversed_slices_and_fractional_scales():
    check([n("Slice", "x a b c d", "y")], {"a": [-1], "b": [-99], "c": [1], "d": [-1]})
    check(
        [n("Slice", "x a b c d", "y")],
        {"a": [3, 0], "b": [0, 9], "c": [1, 2], "d": [-2, 2]},
        shape=(5, 6),
    )
    for mode in ("half_pixel", "asymmetric", "align_corners"):
        check(
            [n("Resize", "x - r", "y", mode="linear", coordinate_transformation_mode=mode)],
            {"r": np.array([1, 1, 1.5, 1.25], np.float32)},
            shape=(2, 9, 7),
        )


def test_operators_on_constants_only():
    check([n("Relu", "c", "d"), n("Add", "x d", "y")], {"c": np.float32([-1, 2, -3, 4])})
    check(
        [n("LayerNormalization", "c w", "d"), n("Mul", "x d", "y")],
        {"c": np.float32([[-1, 2, -3, 4]]), "w": np.ones(4, np.float32)},
    )
    check(
        [SHAPE, n("Expand", "c s", "e"), n("Sigmoid", "e", "d"), n("Mul", "x d", "y")],
        {"c": np.float32([[-1, 2, -3, 4]])},
    )
