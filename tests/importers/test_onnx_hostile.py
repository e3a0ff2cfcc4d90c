"""Files that lie: no crash, no hang, bounded memory, one kind of error."""

from __future__ import annotations

import resource
import struct

import numpy as np
import pytest

import tersor

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

MUTATIONS = 400
EXPECTED = (tersor.GraphError, tersor.UnsupportedError)


def small_model():
    """A convolution with shape arithmetic, a dense layer, a softmax: every kind of field."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "b": rng.normal(size=4),
        "d": rng.normal(size=(5, 64)),
    }
    initializers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    initializers += [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([-1], np.int64), "rest"),
    ]
    nodes = [
        helper.make_node(
            "Conv",
            ["x", "w", "b"],
            ["c"],
            "conv",
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        ),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Shape", ["r"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], "gather"),
        helper.make_node("Concat", ["n", "rest"], ["t"], "concat", axis=0),
        helper.make_node("Reshape", ["r", "t"], ["f"], "reshape"),
        helper.make_node("Gemm", ["f", "d"], ["g"], "gemm", transB=1),
        helper.make_node("Softmax", ["g"], ["y"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def mutations(data, count):
    """Bit flips, truncations, overwritten runs, huge varints, duplicated and moved pieces."""
    rng = np.random.default_rng(7)
    for i in range(count):
        b = bytearray(data)
        at = int(rng.integers(len(b)))
        kind = i % 6
        if kind == 0:
            b[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            b = b[:at]
        elif kind == 2:
            b[at : at + 8] = rng.bytes(8)
        elif kind == 3:
            b[at : at + 1] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
        elif kind == 4:
            b[at:at] = b[at : at + int(rng.integers(1, 64))]
        else:
            b[at : at + 4] = struct.pack("<i", int(rng.choice([-1, 0, 2**31 - 1, -(2**31)])))
        yield bytes(b)


def test_mutated_files(tmp_path):
    data = small_model().SerializeToString()
    path = tmp_path / "m.onnx"
    x = np.zeros((1, 3, 8, 8), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for mutated in mutations(data, MUTATIONS):
        path.write_bytes(mutated)
        try:
            graph = tersor.load(path)
        except EXPECTED:
            refused += 1
        else:
            if [tuple(e.shape) for e in graph.inputs] == [(None, 3, 8, 8)]:
                tersor.Session(graph, provider="reference")(x)
    assert refused > MUTATIONS // 4
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 256 * 1024  # KiB


def edited(change):
    model = small_model()
    change(model)
    return model


def _huge_input(m):
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**62


def _negative_input(m):
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5


def _huge_weight(m):
    m.graph.initializer[0].dims[0] = 2**40


def _short_weight(m):
    m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-4]


def _unknown_type(m):
    m.graph.initializer[0].data_type = 99


def _huge_pads(m):
    m.graph.node[0].attribute[1].ints[:] = [2**60, 1, 1, 1]


def _zero_stride(m):
    m.graph.node[0].attribute[2].ints[:] = [0, 0]


def _wrong_attribute(m):
    m.graph.node[0].attribute[2].CopyFrom(helper.make_attribute("strides", "two"))


def _cycle(m):
    m.graph.node[1].input[0] = "y"


def _missing_value(m):
    m.graph.node[1].input[0] = "nowhere"


def _two_makers(m):
    m.graph.node[1].output[0] = "c"


def _missing_output(m):
    m.graph.output[0].name = "nowhere"


def _no_opset(m):
    del m.opset_import[:]


def _bomb(op, shape, *more):
    def change(m):
        m.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "big"))
        m.graph.node.insert(0, helper.make_node(op, [*more, "big"], ["bomb"], "bomb"))
        m.graph.node[1].input[2] = "bomb"

    return change


def _recursive_functions(m):
    m.functions.append(
        helper.make_function(
            "d",
            "F",
            ["a"],
            ["z"],
            [helper.make_node("F", ["a"], ["z"], domain="d")],
            [helper.make_opsetid("d", 1)],
        )
    )
    m.opset_import.append(helper.make_opsetid("d", 1))
    m.graph.node[1].op_type, m.graph.node[1].domain = "F", "d"


def _exploding_functions(m):
    for i in range(40):
        inner = [
            helper.make_node(
                f"F{i + 1}" if i < 39 else "Relu",
                [["a", "t"][k]],
                [["t", "z"][k]],
                domain="d" if i < 39 else "",
            )
            for k in range(2)
        ]
        m.functions.append(
            helper.make_function(
                "d",
                f"F{i}",
                ["a"],
                ["z"],
                inner,
                [helper.make_opsetid("d", 1), helper.make_opsetid("", 17)],
            )
        )
    m.opset_import.append(helper.make_opsetid("d", 1))
    m.graph.node[1].op_type, m.graph.node[1].domain = "F0", "d"


HOSTILE = [
    _huge_input,
    _negative_input,
    _huge_weight,
    _short_weight,
    _unknown_type,
    _huge_pads,
    _zero_stride,
    _wrong_attribute,
    _cycle,
    _missing_value,
    _two_makers,
    _missing_output,
    _no_opset,
    _bomb("ConstantOfShape", [2**40]),
    _bomb("ConstantOfShape", [-4]),
    _bomb("Expand", [2**20, 2**20, 2**20], "b"),
    _bomb("Tile", [2**40], "b"),
    _recursive_functions,
    _exploding_functions,
]


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_structure(change, tmp_path):
    path = tmp_path / "h.onnx"
    path.write_bytes(edited(change).SerializeToString())
    with pytest.raises(EXPECTED):
        tersor.load(path)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin", "link.bin", "gone.bin"]
)
def test_external_data_stays_in_the_folder(location, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(1 << 12))
    (folder / "link.bin").symlink_to(secret)
    model = small_model()
    _externalize(model.graph.initializer[0], location)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(tersor.ImportFormatError, match=r"outside the folder|missing"):
        tersor.load(folder / "m.onnx")


def test_external_data(tmp_path):
    model = small_model()
    tensor = model.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + tensor.raw_data)
    (tmp_path / "plain.onnx").write_bytes(model.SerializeToString())
    _externalize(tensor, "w.bin", offset="8")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    expected = tersor.load(tmp_path / "plain.onnx").edge("w").constant
    np.testing.assert_array_equal(tersor.load(tmp_path / "m.onnx").edge("w").constant, expected)
    _externalize(tensor, "w.bin", offset="400")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(tersor.ImportFormatError, match="beyond the end"):
        tersor.load(tmp_path / "m.onnx")


def _externalize(tensor, location, **more):
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"not a protobuf at all", b"\x08\x07"])
def test_other_files(data, tmp_path):
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(tersor.ImportFormatError, match=r"x\.onnx"):
        tersor.load(tmp_path / "x.onnx")
