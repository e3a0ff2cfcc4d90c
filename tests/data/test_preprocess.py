"""The formula against NumPy, the table against the formula, and the round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.data import DataError, Preprocess

IMAGENET = Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "NCHW")


def test_formula_on_every_byte():
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    expected = (x / 255 - IMAGENET.mean) / IMAGENET.std
    np.testing.assert_allclose(IMAGENET(x), expected.transpose(0, 3, 1, 2), rtol=2e-6, atol=1e-6)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5)))
def test_bytes_and_floats_agree_to_the_bit(x):
    prepare = Preprocess(0.017, 0.3, 0.2, "NCHW")
    np.testing.assert_array_equal(prepare(x), prepare(x.astype(np.float32)))
    table = prepare.table(x.shape[3])
    channel = x[..., 0]
    np.testing.assert_array_equal(prepare(x)[:, 0], table[0][channel])


@pytest.mark.parametrize(
    ("layout", "source", "shape", "expected"),
    [
        (None, "NHWC", (2, 4, 5, 3), (2, 4, 5, 3)),
        ("NCHW", "NHWC", (2, 4, 5, 3), (2, 3, 4, 5)),
        ("NHWC", "NCHW", (2, 3, 4, 5), (2, 4, 5, 3)),
        (None, "NCHW", (2, 3, 4, 5), (2, 3, 4, 5)),
        ("NCHW", "NHWC", (2, 4, 5), (2, 1, 4, 5)),
        ("NHWC", "NCHW", (2, 4, 5), (2, 4, 5, 1)),
        (None, "NHWC", (2, 7), (2, 7)),
    ],
)
def test_layouts(layout, source, shape, expected):
    prepared = Preprocess(layout=layout, source_layout=source)(np.ones(shape, np.uint8))
    assert prepared.shape == expected
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous


def test_channels_first_takes_the_statistics_of_its_channels():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    prepare = Preprocess(1 / 255, IMAGENET.mean, IMAGENET.std, source_layout="NCHW")
    np.testing.assert_array_equal(prepare(x), IMAGENET(x.transpose(0, 2, 3, 1)))


def test_vectors():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(Preprocess(2.0, (1.0, 2.0), 4.0)(x), (x * 2 - [1, 2]) / 4)


NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-6)
PREPROCESS = st.builds(
    Preprocess,
    scale=NUMBERS,
    mean=st.lists(NUMBERS, min_size=1, max_size=4),
    std=st.lists(NUMBERS, min_size=1, max_size=4),
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    source_layout=st.sampled_from(["NCHW", "NHWC"]),
    resize=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
)


@given(PREPROCESS)
def test_round_trips(prepare):
    assert Preprocess.parse(prepare.to_dict()) == prepare
    assert Preprocess.parse(prepare.to_yaml()) == prepare
    assert hash(Preprocess.parse(prepare)) == hash(prepare)


def test_parse_a_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("scale: 0.5\nmean: 1\nlayout: NCHW\n")
    expected = Preprocess(0.5, 1.0, layout="NCHW")
    assert Preprocess.parse(path) == Preprocess.parse(str(path)) == expected
    assert Preprocess.parse("scale: 0.5\nmean: 1\nlayout: NCHW") == expected
    assert Preprocess.parse("scale: 1/255\nstd: [1/2]") == Preprocess(1 / 255, std=0.5)
    assert Preprocess.parse(None) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"sclae": 1}, r"unknown key 'sclae' \(did you mean 'scale'\?\)"),
        ({"std": [1.0, 0.0]}, "std must not be 0"),
        ({"std": 1e-60}, "std must not be 0"),
        ({"mean": "a"}, "mean must be numbers, got 'a'"),
        ({"scale": "1/0"}, "scale must be numbers, got '1/0'"),
        ({"mean": True}, "mean must be numbers, got True"),
        ({"mean": []}, "mean must be finite numbers"),
        ({"scale": float("inf")}, "scale must be finite numbers"),
        ({"layout": "CHW"}, "layouts must be NHWC or NCHW, got 'CHW'"),
        ({"resize": [0, 4]}, "resize must be height and width in"),
        ({"resize": 4}, "resize must be height and width in"),
    ],
)
def test_refused_documents(document, message):
    with pytest.raises(ValueError, match=message):
        Preprocess.parse(document)


def test_refused_batches():
    with pytest.raises(DataError, match="mean has 3 values, the data have 4 channels"):
        IMAGENET(np.zeros((1, 2, 2, 4), np.uint8))
    with pytest.raises(DataError, match=r"images must have shape .* got \(4, 4\)"):
        IMAGENET(np.zeros((4, 4)))
    with pytest.raises(DataError, match="must be numeric"):
        IMAGENET(np.array(["a"]))


def test_resize_before_the_rest():
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    prepared = Preprocess(1 / 255, layout="NCHW", resize=(4, 3))(x)
    assert prepared.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(prepared * 255, np.rint(prepared * 255), atol=1e-4)
