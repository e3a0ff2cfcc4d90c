"""The embedded network: sizes, structure, and the accuracy that its training script printed."""

import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

import tersor
from tersor.data import Preprocess
from tersor.zoo import digits_preprocess, load_digits_data, load_digits_network


def test_the_file_is_small():
    assert len((resources.files("tersor.zoo") / "digits.npz").read_bytes()) < 300_000


def test_data():
    test, calibration = load_digits_data(), load_digits_data("calibration")
    assert (len(test), len(calibration), test.shape) == (602, 256, (8, 8, 1))
    assert test.x.dtype == np.uint8
    assert int(test.x.max()) == 16
    # Every class is there about equally often.
    assert np.bincount(test.y).min() >= 55
    # Nothing is in both.
    seen = {image.tobytes() for image in calibration.x}
    assert not any(image.tobytes() in seen for image in test.x)
    with pytest.raises(ValueError, match="split must be test or calibration, got 'train'"):
        load_digits_data("train")


def test_graph():
    graph = load_digits_network(canonicalize=False)
    operators = [node.op for node in graph.nodes]
    assert operators.count("conv") == operators.count("batch_norm") == 6
    assert operators.count("add") == 2
    assert graph.edge("image").shape == (None, 1, 8, 8)
    assert graph.edge(graph.output_ids[0]).shape == (None, 10)
    trained = [edge for edge in graph.edges if edge.is_constant and "running" not in edge.name]
    assert sum(edge.constant.size for edge in trained) == 28_410
    assert graph.macs == 673_088
    assert Preprocess.parse(graph.preprocess) == digits_preprocess()


def test_folding_keeps_the_function():
    kept, folded = load_digits_network(canonicalize=False), load_digits_network()
    assert [node.op for node in folded.nodes].count("conv") == 6
    assert "batch_norm" not in {node.op for node in folded.nodes}
    x = digits_preprocess()(load_digits_data().subset(slice(20)).x)
    expected = numpy_forward(kept, np.float64(x))
    for graph in (kept, folded):
        np.testing.assert_allclose(tersor.Session(graph)(x), expected, rtol=1e-4, atol=1e-4)


def numpy_forward(graph, x):
    """Run the network with plain NumPy: an independent truth for the stored weights."""
    weight = {edge.name: np.float64(edge.constant) for edge in graph.edges if edge.is_constant}

    def convolve(x, name, strides=1):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum(
            "nchwyx,ocyx->nohw", windows[:, :, ::strides, ::strides], weight[f"{name}.weight"]
        )

    def normalize(x, name):
        mean, variance = weight[f"{name}.running_mean"], weight[f"{name}.running_var"]
        scale = weight[f"{name}.weight"] / np.sqrt(variance + 1e-5)
        return x * scale[:, None, None] + (weight[f"{name}.bias"] - mean * scale)[:, None, None]

    def residual(x, name):
        y = np.maximum(normalize(convolve(x, f"{name}.conv1"), f"{name}.bn1"), 0)
        return np.maximum(normalize(convolve(y, f"{name}.conv2"), f"{name}.bn2") + x, 0)

    x = np.maximum(normalize(convolve(x, "stem"), "stem_bn"), 0)
    x = residual(x, "block1")
    x = np.maximum(normalize(convolve(x, "down", 2), "down_bn"), 0)
    x = residual(x, "block2").mean(axis=(2, 3))
    return x @ weight["classifier.weight"].T + weight["classifier.bias"]


def test_accuracy_of_the_stored_weights():
    data = load_digits_data()
    logits = numpy_forward(
        load_digits_network(canonicalize=False), np.float64(digits_preprocess()(data.x))
    )
    assert (logits.argmax(axis=1) == data.y).sum() == 599


def test_needs_nothing_but_the_package():
    code = (
        "import sys, tersor.zoo as zoo; zoo.load_digits_network(); zoo.load_digits_data().x;"
        "print(sorted({'torch', 'sklearn', 'onnx', 'keras', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
