"""Entropy-coded tensors in the artifact: every value comes back, damage is refused."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor import ArtifactError, _core, artifact
from tests.artifact.test_artifact import assert_equal_graphs, coded_weights
from tests.artifact.test_sparse_stream import graph_of

FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def round_trip(w, bits=None, profile="fast"):
    data = _core.artifact.encode(graph_of(w, bits), b"", b"", profile)
    graph = _core.artifact.decode(data)[0]
    again = next(e.constant for e in graph.edges if e.name == "w")
    assert again.dtype == w.dtype
    assert again.shape == w.shape
    assert again.tobytes() == w.tobytes()
    streams = _core.artifact.inspect(data)["streams"]
    return next(s for s in streams if (s["edge"], s["part"]) == ("w", "values"))


def gaussian(shape, dtype, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 0.05).astype(dtype)


# zipnn's ratios on trained weights; a trained layer's exponents vary no more than these do.
@pytest.mark.parametrize(
    ("name", "ratio"), [("float32", 1.19), ("bfloat16", 1.46), ("float16", 1.1)]
)
@pytest.mark.parametrize("profile", ["fast", "small"])
def test_floats_shrink_without_loss(isa, name, ratio, profile):
    w = gaussian((64, 64, 3, 3), FLOATS[name])
    stream = round_trip(w, profile=profile)
    assert stream["coding"] == "coded"
    assert w.nbytes >= ratio * stream["length"]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("profile", ["fast", "small", None])
def test_special_floats_come_back(name, profile):
    w = gaussian((40, 33), FLOATS[name])
    w[0, :6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0]
    w.view(np.uint16 if w.itemsize == 2 else np.uint32)[1, 0] |= 1  # any bits, a NaN's payload too
    w[2] = np.nan
    round_trip(w, profile=profile)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("profile", ["fast", "small"])
def test_codes_are_coded_where_that_pays(bits, profile):
    rng = np.random.default_rng(bits)
    top = 2 ** (bits - 1) - 1
    w = np.clip(np.rint(rng.normal(size=(64, 300)) * top / 3.5), -top, top).astype(np.int8)
    stream = round_trip(w, bits, profile)
    share = np.unique(w, return_counts=True)[1] / w.size
    entropy = -(share * np.log2(share)).sum() * w.size / 8
    assert stream["coding"] == "coded"
    assert stream["length"] <= 1.015 * entropy + 60
    flat = rng.integers(-128, 128, (64, 300)).astype(np.int8)
    assert round_trip(flat, 8, profile)["coding"] == "raw"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_tensor_comes_back(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 14), min_size=1, max_size=4)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype = data.draw(st.sampled_from(["float32", "float16", "int8"]))
    spread = data.draw(st.sampled_from([0.3, 3.0, 40.0]))
    w = np.clip(rng.normal(size=shape) * spread, -127, 127).astype(dtype)
    round_trip(w, 8 if dtype == "int8" else None, data.draw(st.sampled_from(["fast", "small"])))


def test_the_smallest_form_is_taken():
    rng = np.random.default_rng(0)
    codes = np.clip(np.rint(rng.normal(size=(64, 64, 3, 3)) * 3), -7, 7).astype(np.int8)
    codes[rng.random(codes.shape) < 0.75] = 0
    plain, fast, small = (round_trip(codes, 4, p)["length"] for p in (None, "fast", "small"))
    assert small <= fast < plain
    w = np.where(rng.random((64, 640)) < 0.05, rng.normal(size=(64, 640)), 0).astype(np.float32)
    assert round_trip(w)["coding"] == "sparse"


def test_profiles_differ_in_bytes_only(tmp_path, threads):
    graph = coded_weights()
    sizes = []
    for profile in (None, "fast", "small"):
        artifact.save(tmp_path / "m.tersor", graph, profile=profile)
        again = artifact.load(tmp_path / "m.tersor")[0]
        assert_equal_graphs(graph, again)
        assert artifact.content_hash(again) == artifact.content_hash(graph)
        assert_equal_graphs(artifact.load(tmp_path / "m.tersor", verify=False)[0], graph)
        sizes.append((tmp_path / "m.tersor").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    assert artifact.encode(graph, profile="small") == artifact.encode(graph, profile="small")
    with pytest.raises(ValueError, match="profile must be fast or small, got zip"):
        artifact.encode(graph, profile="zip")


@pytest.mark.parametrize("profile", ["fast", "small"])
def test_flips_and_truncation_are_refused(profile):
    data = artifact.encode(coded_weights(), profile=profile)
    rng = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(data)
        bit = int(rng.integers(8 * len(data)))
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactError):
            artifact.decode(bytes(damaged))
    for n in range(len(data)):
        with pytest.raises(ArtifactError):
            artifact.decode(data[:n])


def test_damage_that_no_checksum_is_asked_about_is_harmless():
    data = artifact.encode(coded_weights(), profile="small")
    info = _core.artifact.inspect(data)
    first = min(s["offset"] for s in info["streams"])
    rng = np.random.default_rng(6)
    unnoticed = 0
    for _ in range(200):
        damaged = bytearray(data)
        damaged[int(rng.integers(first, len(data)))] ^= 1 << int(rng.integers(8))
        try:
            artifact.decode(bytes(damaged), verify=False)
            unnoticed += 1
        except ArtifactError:
            pass
        with pytest.raises(ArtifactError):
            artifact.decode(bytes(damaged))
    assert unnoticed  # what the switch is warned about


def test_old_readers_refuse_and_codings_need_their_feature():
    data = bytearray(artifact.encode(coded_weights()))
    assert int.from_bytes(data[24:32], "little") & 8
    plain = artifact.encode(coded_weights(), profile=None)
    assert not int.from_bytes(plain[24:32], "little") & 8
    data[24] &= 0xF7  # the feature is not declared
    data[60:64] = _core.base.crc32c(bytes(data[:60])).to_bytes(4, "little")
    with pytest.raises(ArtifactError, match="a coding needs a feature"):
        artifact.decode(bytes(data))


@pytest.mark.parametrize("profile", ["fast", "small", None])
def test_storage_accounts_for_every_byte(tmp_path, profile):
    path = tmp_path / "m.tersor"
    artifact.save(path, coded_weights(), {"recipe": "int8"}, profile=profile)
    stored = artifact.storage(path)
    assert stored["file_bytes"] == path.stat().st_size
    assert stored["total"]["bytes"] + sum(stored["rest"].values()) == stored["file_bytes"]
    assert min(stored["rest"].values()) >= 0
    by_name = {row["name"]: row for row in stored["tensors"]}
    assert by_name["dense"]["raw"] == 16 * 8 * 9 // 2
    assert by_name["wide"]["raw"] == 16 * 8 * 9
    assert by_name["few"]["structure"].endswith("% zeros")
    assert by_name["float16"]["float32"] == 2 * by_name["float16"]["raw"] == 4 * 16 * 64
    if profile is None:
        assert {row["coding"] for row in stored["tensors"]} == {"raw", "packed", "sparse"}
    else:
        assert by_name["wide"]["coding"] == "coded"
        assert by_name["wide"]["bytes"] < by_name["wide"]["gzip"]
