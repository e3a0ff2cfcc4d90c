"""The .tersor file: round trips, flipped bits, truncation, hostile content, golden files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import ArtifactError, GraphError, _core, artifact

GOLDEN = Path(__file__).parent / "golden"
HEADER_BYTES, ENTRY_BYTES, SECTIONS = 64, 24, 5


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def qparams(scale, zero_point, **more):
    return _core.quantization.QParams(scale=scale, zero_point=zero_point, **more)


def small_graph():
    """A quantized convolution: constants of several types, per-channel scales, derived bias."""
    rng = np.random.default_rng(1)
    g = _core.graph.Graph()
    g.description = "test"
    x = g.add_input("x", "float32", (None, 3, 4, 4))
    qx = g.add_node("quantize", [x], {}, "q", "xq", qparams([0.05], [3]))
    scales = np.float32([0.1, 0.2, 0.3])
    w = g.add_constant(
        "w",
        rng.integers(-7, 8, (3, 3, 1, 1)).astype(np.int8),
        "layer.weight",
        qparams(scales, [0, 0, 0], bits=4, narrow=True, axis=0),
    )
    bias_scale = [float(np.float32(0.05) * s) for s in scales]
    b = g.add_constant(
        "b",
        np.arange(3, dtype=np.int32),
        "layer.bias",
        qparams(bias_scale, [0] * 3, bits=32, axis=0),
    )
    y = g.add_node(
        "conv", [qx, w, b], {"activation": "relu"}, "conv", "yq", qparams([0.07], [-128])
    )
    g.set_outputs([g.add_node("dequantize", [y], {}, "dq", "y")])
    g.verify()
    return g


def assert_equal_graphs(a, b):
    assert a.description == b.description
    assert [repr(n) for n in a.nodes] == [repr(n) for n in b.nodes]
    assert [n.attributes for n in a.nodes] == [n.attributes for n in b.nodes]
    assert (a.input_ids, a.output_ids) == (b.input_ids, b.output_ids)
    for p, q in zip(a.edges, b.edges, strict=True):
        assert (p.name, p.origin, p.dtype, p.shape) == (q.name, q.origin, q.dtype, q.shape)
        assert p.qparams == q.qparams
        assert p.is_constant == q.is_constant
        if p.is_constant:
            np.testing.assert_array_equal(p.constant, q.constant)


def weight_formats():
    """Constants whose scales need the feature "weight formats" (artifact.md)."""
    rng = np.random.default_rng(2)
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 2))
    kept = []
    for name, axis, scales, more in (
        ("groups", 1, 6, {"bits": 4, "narrow": True, "group_size": 4}),
        ("axes", (1, 2), 6, {"bits": 3, "group_size": 5}),
        ("float", 0, 2, {"bits": 2, "signed": False, "zero_point_float": [0.3, 1.7]}),
        ("half", 0, 2, {"bits": 4, "zero_point_float": np.float16([0.3, -1.7])}),
        ("tensor", None, 1, {"bits": 5, "zero_point_float": [0.3]}),
    ):
        shape = (2, 3, 3) if name == "axes" else (2, 9)
        scales = 4 if name == "axes" else scales
        values = rng.uniform(0.01, 0.1, scales).astype(np.float16 if name != "float" else "f")
        q = qparams(values, [0] * scales, axis=axis, **more)
        codes = rng.integers(q.code_min, q.code_max + 1, shape)
        w = g.add_constant(name, codes.astype(np.int8 if q.signed else np.uint8), name, q)
        kept.append(g.add_node("dequantize", [w], {}, f"{name}_node", f"{name}_value"))
    g.set_outputs([g.add_node("relu", [x], {}, "relu", "y"), *kept])
    g.verify()
    return g


def pruned_weights():
    """Constants that need the feature "sparse": masks of every form, floats and packed codes."""
    rng = np.random.default_rng(3)
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 2))
    kept = []
    for name, density in (("half", 0.5), ("tenth", 0.1), ("few", 0.01), ("blocks", 0.2)):
        w = rng.normal(size=(16, 64)).astype(np.float32)
        mask = rng.random(w.shape) < density
        if name == "blocks":
            mask = np.repeat(rng.random((16, 16)) < density, 4, axis=1)
        kept.append(g.add_constant(name, np.where(mask, w, np.float32(0)), name))
    order = rng.random((16, 16, 4)).argsort(axis=2)
    values = rng.uniform(0.5, 1, (16, 64)).astype(np.float32)
    kept.append(
        g.add_constant("two of four", np.where(order.reshape(16, 64) < 2, values, 0), "n:m")
    )
    codes = rng.integers(1, 8, (16, 64)) * (rng.random((16, 64)) < 0.2)
    q = qparams([0.25], [0], bits=4, narrow=True)
    kept.append(g.add_constant("codes", codes.astype(np.int8), "codes", q))
    ends = [
        g.add_node(
            "dequantize" if w == kept[-1] else "identity", [w], {}, f"{i}_node", f"{i}_value"
        )
        for i, w in enumerate(kept)
    ]
    g.set_outputs([g.add_node("relu", [x], {}, "relu", "y"), *ends])
    g.verify()
    return g


def codebooks():
    """Constants that need the feature "codebooks": tables of each type, one and several."""
    rng = np.random.default_rng(4)
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 2))
    kept = []
    for name, table in (
        ("integers", [[-127, 0, 5]]),
        ("halves", np.float16([[0.1, 0.2], [0.3, 0.4]])),
        ("floats", np.sort(rng.normal(size=(3, 16)), axis=1)),
        ("one", [[0.5]]),
        ("minus zero", [[-0.0, 1.0]]),
    ):
        table = np.asarray(table, np.float32)
        q = qparams([0.7, 0.3, 1.5], [0, 0, 0], axis=0, codebook=table)
        q = q if name != "one" else qparams([1.0], [0], codebook=table)
        q = q if len(table) != 2 else qparams([1.0], [0], codebook=table)
        shape = (4, 7) if len(table) == 2 else (3, 9)
        codes = rng.integers(0, table.shape[1], shape).astype(np.uint8)
        w = g.add_constant(name, codes, name, q)
        kept.append(g.add_node("dequantize", [w], {}, f"{name}_node", f"{name}_value"))
    g.set_outputs([g.add_node("relu", [x], {}, "relu", "y"), *kept])
    g.verify()
    return g


@pytest.fixture(scope="module")
def data():
    return artifact.encode(small_graph(), {"recipe": "int8"}, {"seconds": 0.25})


def test_weight_formats_come_back():
    data = artifact.encode(weight_formats(), {}, {})
    assert struct.unpack_from("<Q", data, 24) == (1,)  # old readers refuse it in their words
    assert struct.unpack_from("<Q", artifact.encode(small_graph(), {}, {}), 24) == (0,)
    graph = artifact.decode(data)[0]
    assert_equal_graphs(weight_formats(), graph)
    streams = {(s["edge"], s["part"]): s["length"] for s in _core.artifact.inspect(data)["streams"]}
    assert streams["groups", "scale"] == 12
    assert streams["float", "scale"] == 8


def test_weight_formats_need_their_feature():
    data = bytearray(artifact.encode(weight_formats(), {}, {}))
    struct.pack_into("<Q", data, 24, 0)
    with pytest.raises(ArtifactError, match="unknown quantization flags"):
        artifact.decode(sealed(data))


def test_codebooks_come_back():
    data = artifact.encode(codebooks(), {}, {})
    assert struct.unpack_from("<Q", data, 24) == (4,)
    graph = artifact.decode(data)[0]
    assert_equal_graphs(codebooks(), graph)
    streams = {(s["edge"], s["part"]): s["length"] for s in _core.artifact.inspect(data)["streams"]}
    sizes = {name: streams[name, "codebook"] for name in ("integers", "halves", "floats", "one")}
    assert sizes == {"integers": 3, "halves": 8, "floats": 192, "one": 2}
    assert np.signbit(graph.edge("minus zero").qparams.codebook[0, 0])


def test_codebooks_need_their_feature():
    data = bytearray(artifact.encode(codebooks(), {}, {}))
    struct.pack_into("<Q", data, 24, 0)
    with pytest.raises(ArtifactError, match="unknown quantization flags"):
        artifact.decode(sealed(data))


def test_round_trip(data):
    graph, metadata, provenance = artifact.decode(data)
    assert_equal_graphs(graph, small_graph())
    assert (metadata, provenance) == ({"recipe": "int8"}, {"seconds": 0.25})
    assert artifact.encode(graph, metadata, provenance) == data


@given(
    dtype=st.sampled_from(
        ["float32", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "float64"]
    ),
    shape=st.lists(st.integers(0, 5), max_size=4),
    seed=st.integers(0, 99),
)
def test_any_constant_round_trips(dtype, shape, seed):
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    value = np.random.default_rng(seed).integers(0, 100, shape).astype(kind)
    g = _core.graph.Graph()
    c = g.add_constant("c", value)
    g.set_outputs([g.add_node("identity", [c])])
    again = artifact.decode(artifact.encode(g))[0].edge("c").constant
    assert again.dtype == value.dtype
    np.testing.assert_array_equal(again, value)


@given(bits=st.integers(2, 8), signed=st.booleans(), seed=st.integers(0, 99))
def test_codes_are_packed_to_their_bits(bits, signed, seed):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    value = (
        np.random.default_rng(seed)
        .integers(low, high + 1, (7, 9))
        .astype(np.int8 if signed else np.uint8)
    )
    g = _core.graph.Graph()
    g.add_input("x", "float32", (None, 2))
    c = g.add_constant("c", value, "", qparams([1.0], [0], bits=bits, signed=signed))
    g.set_outputs([g.add_node("dequantize", [c])])
    data = artifact.encode(g)
    np.testing.assert_array_equal(artifact.decode(data)[0].edge("c").constant, value)
    stream = next(s for s in _core.artifact.inspect(data)["streams"] if s["part"] == "values")
    assert stream["length"] == -(-63 * bits // 8)


def test_every_flipped_bit_is_an_error(data):
    for i in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[i // 8] ^= 1 << (i % 8)
        with pytest.raises(ArtifactError):
            artifact.decode(bytes(damaged))


def test_every_truncation_and_extension_is_an_error(data):
    for n in range(len(data)):
        with pytest.raises(ArtifactError):
            artifact.decode(data[:n])
    for extra in (b"\0", b"x", data):
        with pytest.raises(ArtifactError):
            artifact.decode(data + extra)


def sections_of(data):
    entries = []
    for i in range(SECTIONS):
        entries.append(struct.unpack_from("<IQQI", data, HEADER_BYTES + i * ENTRY_BYTES))
    return entries


def sealed(data: bytearray) -> bytes:
    """The bytes with every checksum made right again, so that only the content is hostile."""
    for i, (kind, offset, length, _) in enumerate(sections_of(data)):
        crc = crc32c(bytes(data[offset : offset + length]))
        struct.pack_into("<IQQI", data, HEADER_BYTES + i * ENTRY_BYTES, kind, offset, length, crc)
    table = bytes(data[HEADER_BYTES : HEADER_BYTES + SECTIONS * ENTRY_BYTES])
    struct.pack_into("<I", data, 32, crc32c(table))
    struct.pack_into("<I", data, HEADER_BYTES - 4, crc32c(bytes(data[: HEADER_BYTES - 4])))
    return bytes(data)


def test_sealing_an_untouched_file_changes_nothing(data):
    assert sealed(bytearray(data)) == data


_FORMATS = (weight_formats(), codebooks())


@settings(max_examples=900, deadline=None)
@given(draw=st.data())
def test_hostile_content_behind_valid_checksums_never_crashes(data, draw):
    data = draw.draw(st.sampled_from([data, *(artifact.encode(g, {}, {}) for g in _FORMATS)]))
    hostile = bytearray(data)
    _, offset, length, _ = draw.draw(st.sampled_from(sections_of(data)[:3]))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = offset + draw.draw(st.integers(0, length - 1))
        hostile[at] = draw.draw(st.integers(0, 255))
    try:
        graph, *_ = artifact.decode(sealed(hostile))
    except ArtifactError:
        return
    graph.verify()  # a change that is still a valid network (a name, a stride)


@pytest.mark.parametrize("field", range(3))
@pytest.mark.parametrize("value", [0, 1, 63, 2**31, 2**32 - 1])
def test_hostile_section_tables(data, field, value):
    for i in range(SECTIONS):
        hostile = bytearray(data)
        entry = list(sections_of(data)[i])
        if entry[field] == value:
            continue
        entry[field] = value
        struct.pack_into("<IQQI", hostile, HEADER_BYTES + i * ENTRY_BYTES, *entry)
        table = bytes(hostile[HEADER_BYTES : HEADER_BYTES + SECTIONS * ENTRY_BYTES])
        struct.pack_into("<I", hostile, 32, crc32c(table))
        struct.pack_into(
            "<I", hostile, HEADER_BYTES - 4, crc32c(bytes(hostile[: HEADER_BYTES - 4]))
        )
        with pytest.raises(ArtifactError):
            artifact.decode(bytes(hostile))


@pytest.mark.parametrize(
    ("offset", "form", "value", "says"),
    [
        (8, "<H", 2, "update tersor"),
        (12, "<I", 2**32 - 1, "there must be 5 sections"),
        (16, "<Q", 2**63, "the file must have"),
        (24, "<Q", 1 << 40, "needs a feature"),
        (40, "<I", 1, "reserved bytes must be zero"),
    ],
)
def test_hostile_headers(data, offset, form, value, says):
    hostile = bytearray(data)
    struct.pack_into(form, hostile, offset, value)
    struct.pack_into("<I", hostile, HEADER_BYTES - 4, crc32c(bytes(hostile[: HEADER_BYTES - 4])))
    with pytest.raises(ArtifactError, match=says):
        artifact.decode(bytes(hostile))


def test_json_bombs_and_other_metadata_are_errors():
    graph = small_graph()
    for metadata in (
        b"x",
        zlib.compress(b"[]"),
        zlib.compress(b"0" * (17 << 20)),
        zlib.compress(b"{}") + b"x",
    ):
        with pytest.raises(ArtifactError, match="metadata"):
            artifact.decode(_core.artifact.encode(graph, metadata, b""))


def test_files_appear_completely_or_not_at_all(tmp_path, data):
    path = tmp_path / "model.tersor"
    artifact.save(path, small_graph(), {"recipe": "int8"}, {"seconds": 0.25})
    assert path.read_bytes() == data
    assert_equal_graphs(artifact.load(path)[0], small_graph())
    with pytest.raises(ArtifactError, match="cannot write"):
        artifact.save(tmp_path / "absent" / "model.tersor", small_graph())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="cannot write"):
        artifact.save(tmp_path / "folder", small_graph())
    broken = _core.graph.Graph()
    with pytest.raises(GraphError):
        artifact.save(tmp_path / "broken.tersor", broken)
    assert sorted(os.listdir(tmp_path)) == ["folder", "model.tersor"]
    with pytest.raises(ArtifactError, match="cannot open"):
        artifact.load(tmp_path / "nothing.tersor")
    with pytest.raises(ArtifactError, match="regular file"):
        artifact.load(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"recipe": {"name": 3}},
        {"recipe": "int7"},
        {"recipe": ["int8"]},
        {"preprocess": [1]},
        {"preprocess": {"scales": 1}},
        {"lineage": "x"},
        {"notes": 3},
        {"notes": {"float_layers": ["a"]}},
        {"notes": {"float_layers": {"a": 3}}},
    ],
)
def test_metadata_of_a_wrong_form(metadata, tmp_path):
    artifact.save(tmp_path / "m.tersor", small_graph(), metadata)
    with pytest.raises(ArtifactError, match="artifact: section metadata is not valid: "):
        tersor.load(tmp_path / "m.tersor")


def test_provenance_is_outside_the_content_hash():
    one = artifact.content_hash(small_graph(), {"recipe": "int8"})
    assert one == artifact.content_hash(small_graph(), {"recipe": "int8"})
    assert one != artifact.content_hash(small_graph(), {"recipe": "fp32"})
    assert len(one) == 64


def test_inspect_accounts_for_every_byte(tmp_path):
    artifact.save(tmp_path / "m.tersor", small_graph())
    info = artifact.inspect(tmp_path / "m.tersor")
    assert info["file_bytes"] == (tmp_path / "m.tersor").stat().st_size
    assert {s["name"] for s in info["sections"]} == {
        "graph",
        "stream table",
        "stream data",
        "metadata",
        "provenance",
    }
    assert [(s["edge"], s["part"], s["coding"]) for s in info["streams"]] == [
        ("w", "scale", "raw"),
        ("w", "values", "packed"),
        ("b", "values", "raw"),
    ]


def coded_weights():
    """Constants that need the feature "coded": codes of each method, floats of each width."""
    rng = np.random.default_rng(4)
    g = _core.graph.Graph()
    x = g.add_input("x", "float32", (None, 2))
    kept = []
    for name, bits, spread, density in (
        ("dense", 4, 2, 1),
        ("wide", 8, 35, 1),
        ("few", 8, 30, 0.3),
    ):
        scales = spread * np.exp(rng.normal(size=(16, 1, 1, 1)) * 0.8)  # filters differ
        w = np.rint(np.clip(rng.normal(size=(16, 8, 3, 3)) * scales, -127, 127))
        w = np.clip(w, -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)
        w *= rng.random(w.shape) < density
        q = qparams([0.5], [0], bits=bits, narrow=True)
        kept.append(g.add_constant(name, w.astype(np.int8), name, q))
    ends = [g.add_node("dequantize", [w], {}, f"{i}_q", f"{i}_v") for i, w in enumerate(kept)]
    for dtype in ("float32", "float16"):
        w = g.add_constant(dtype, (rng.normal(size=(16, 64)) * 0.1).astype(dtype), dtype)
        ends.append(g.add_node("identity", [w], {}, f"{dtype}_node", f"{dtype}_value"))
    g.set_outputs([g.add_node("relu", [x], {}, "relu", "y"), *ends])
    g.verify()
    return g


# What each golden file's name ends in, the network in it, and the features that it needs.
GOLDEN_GRAPHS = {
    "": (small_graph, 0),
    "-weight-formats": (weight_formats, 1),
    "-pruned": (pruned_weights, 2),
    "-codebooks": (codebooks, 4),
    "-coded": (coded_weights, 8 + 2),
    "-coded-small": (coded_weights, 8),
    "-smooth-tables": (coded_weights, 8),
}


def golden_kind(path):
    return path.stem.removeprefix("version-")[len("1.0") :]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.tersor")), ids=lambda p: p.stem)
def test_golden_files_load_forever(path):
    graph, metadata, _ = artifact.load(path)
    assert metadata["recipe"] == "int8"
    make, features = GOLDEN_GRAPHS[golden_kind(path)]
    assert_equal_graphs(graph, make())
    assert struct.unpack_from("<Q", path.read_bytes(), 24) == (features,)


def test_every_feature_has_a_golden_file():
    assert {golden_kind(path) for path in GOLDEN.glob("*.tersor")} == set(GOLDEN_GRAPHS)


@pytest.mark.parametrize("bit", [12, 31, 63])
def test_a_reader_that_lacks_a_feature_refuses_the_file(bit):
    """As a reader without weight formats does with such a file: before it reads anything else."""
    data = bytearray((GOLDEN / "version-1.0-weight-formats.tersor").read_bytes())
    struct.pack_into("<Q", data, 24, 1 | 1 << bit)
    data[HEADER_BYTES:] = bytes(len(data) - HEADER_BYTES)  # what it cannot know may be anything
    struct.pack_into("<I", data, HEADER_BYTES - 4, crc32c(bytes(data[: HEADER_BYTES - 4])))
    with pytest.raises(ArtifactError, match="needs a feature that this tersor lacks: update"):
        artifact.decode(bytes(data))


def test_some_tensors_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 300))
    kept = {n: rng.normal(size=(300, 300)).astype(np.float32) for n in "abc"}
    for n, w in kept.items():
        x = graph.add_node("dense", [x, graph.add_constant(n, w)], {}, f"fc_{n}")
    graph.set_outputs([x])
    graph.quantize_weights_only({"fc_b": _core.graph.WeightFormat(4, group_size=30)})
    file = tmp_path / "network.tersor"
    artifact.save(file, graph)
    found = artifact.load_tensors(file, ["c", "b", "c"])
    assert list(found) == ["c", "b"]
    np.testing.assert_array_equal(found["c"][0], kept["c"])
    assert found["c"][1] is None
    np.testing.assert_array_equal(found["b"][0], graph.edge("b").constant)
    assert found["b"][1] == graph.edge("b").qparams
    assert artifact.load_tensors(file, []) == {}
    for wrong in ("x", "nothing"):
        with pytest.raises(ValueError, match=f"must be those of constants, got {wrong}"):
            artifact.load_tensors(file, [wrong])
    # Damage is found in what is read, and nowhere else.
    stream = next(s for s in artifact.inspect(file)["streams"] if s["edge"] == "a")
    damaged = bytearray(file.read_bytes())
    damaged[stream["offset"] + stream["length"] // 2] ^= 16
    file.write_bytes(damaged)
    np.testing.assert_array_equal(artifact.load_tensors(file, ["c"])["c"][0], kept["c"])
    for read in (lambda: artifact.load_tensors(file, ["a"]), lambda: artifact.load(file)):
        with pytest.raises(ArtifactError, match="checksum of a stream"):
            read()


@pytest.mark.parametrize("ties", ["even", "away"])
def test_text_that_a_later_version_of_an_operator_added(ties):
    graph = _core.graph.Graph()
    x = graph.add_input("x", "float32", (None, 3))
    q = _core.quantization.QParams(scale=[0.5], zero_point=[1])
    graph.set_outputs([graph.add_node("quantize", [x], {"ties": ties}, "q", "q", qparams=q)])
    data = artifact.encode(graph)
    again, _, _ = artifact.decode(data)
    assert again.nodes[0].attributes["ties"] == ties
    # Node and names as before where it says nothing: an older reader knows those.
    assert len(data) == len(artifact.encode(again))
