"""Int8 accuracy of trained networks on CIFAR-10 (JPEG), calibrated on training images."""

import os
from pathlib import Path

import numpy as np
import pytest

import tersor
from tests import datasets

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalised(x):
    return np.ascontiguousarray(((x.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def raw(x):
    return x.astype(np.float32)


def top1(model, images, prepare):
    session = tersor.Session(model, tersor.get_threads())
    right = 0
    for start in range(0, len(images.y), 500):
        logits = session(prepare(images.x[start : start + 500]))
        right += int((logits.argmax(1) == images.y[start : start + 500]).sum())
    return 100 * right / len(images.y)


def calibration(seed):
    train = datasets.cifar10("train")
    return train.x[np.random.default_rng(seed).choice(len(train.y), 128, replace=False)]


def mean_top1(graph, prepare, subsets, images):
    accuracies = []
    for seed in range(subsets):
        model = tersor.compress(graph, calibration=prepare(calibration(seed)))
        accuracies.append(top1(model, images, prepare))
    return float(np.mean(accuracies))


def every(images, step):
    return datasets.Images(images.x[::step], images.y[::step])


@pytest.fixture(scope="module")
def resnet20():
    return tersor.load(datasets.find("models/resnet20-cifar10.onnx"))


def test_resnet20_on_a_tenth_of_the_images(resnet20, cifar10_test):
    images = every(cifar10_test, 10)
    model = tersor.compress(resnet20, calibration=normalised(calibration(0)))
    assert model.nbytes <= 284_000
    wanted = top1(resnet20, images, normalised)
    assert abs(top1(model, images, normalised) - wanted) <= 0.8


@pytest.mark.slow
def test_resnet20_keeps_its_accuracy(resnet20, cifar10_test):
    assert mean_top1(resnet20, normalised, 5, cifar10_test) >= 87.55


# Keras 3.15 on NumPy 2: variables lack the copy argument of __array__.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.slow
def test_resnet8_keeps_its_accuracy(cifar10_test):
    pytest.importorskip("torch", reason="Keras needs a backend")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("keras", reason="reading the .h5 file needs keras")
    graph = tersor.load(datasets.find("models/resnet8-cifar10.h5"))
    assert tersor.compress(graph, calibration=raw(calibration(0))).nbytes <= 88_000
    assert mean_top1(graph, raw, 5, cifar10_test) >= 75.35


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "least"),
    [
        ({"values": "w4a32"}, 87.4),
        pytest.param({"values": "w4a32", "group_size": 0}, 86.5, marks=pytest.mark.extended),
        pytest.param({"values": "w3a32"}, 86.6, marks=pytest.mark.extended),
        ({"values": "w4a8"}, 87.2),
    ],
)
def test_resnet20_keeps_its_accuracy_at_few_bits(resnet20, cifar10_test, recipe, least):
    train = datasets.cifar10("train")
    x = train.x[np.random.default_rng(0).choice(len(train.y), 512, replace=False)]
    model = tersor.compress(resnet20, recipe=recipe, calibration=normalised(x))
    assert top1(model, cifar10_test, normalised) >= least


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore:compress. the")
@pytest.mark.parametrize(("size", "least"), [("96 KB", 86.9), ("64 KB", 86.0)])
def test_resnet20_under_a_budget_of_size(resnet20, cifar10_test, size, least):
    train = datasets.cifar10("train")
    x = train.x[np.random.default_rng(0).choice(len(train.y), 1024, replace=False)]
    model = tersor.compress(resnet20, budget={"size": size}, calibration=normalised(x))
    assert model.nbytes <= 1024 * int(size.split()[0])
    assert top1(model, cifar10_test, normalised) >= least


def test_resnet20_at_four_bits_on_a_tenth_of_the_images(resnet20, cifar10_test):
    images = every(cifar10_test, 10)
    model = tersor.compress(resnet20, recipe="w4a32", calibration=normalised(calibration(0)))
    session, exact = tersor.Session(model), tersor.Session(resnet20)
    x = normalised(images.x)
    wanted = exact(x)
    # 27 dB and 98.3 % of the classes; rounding to nearest gives 15 dB and 94.4 %.
    noise = np.square(session(x) - wanted).sum() / np.square(wanted).sum()
    assert 10 * np.log10(noise) < -23
    assert (session(x).argmax(1) == wanted.argmax(1)).mean() > 0.965


@pytest.mark.slow
def test_mobilenetv2_keeps_its_accuracy(cifar10_test):
    graph = tersor.load(datasets.find("models/mobilenetv2-cifar10.onnx"))
    model = tersor.compress(graph, calibration=normalised(calibration(0)))
    assert top1(model, cifar10_test, normalised) >= 82.31 - 0.5


def test_uneven_channels_do_not_collapse(resnet20, cifar10_test):
    # The inner channels of each block are scaled by 1/32 to 32, and back by the next layer.
    graph = resnet20.clone()
    nodes = {node.outputs[0]: node for node in graph.nodes}
    reads = [i for node in graph.nodes for i in node.inputs]
    rng = np.random.default_rng(0)
    for node in graph.nodes:
        first = nodes.get(node.inputs[0])
        inner = first is not None and first.op == node.op == "conv"
        if not inner or reads.count(node.inputs[0]) > 1:
            continue
        w, b, v = first.inputs[1], first.inputs[2], node.inputs[1]
        scale = rng.permutation(2.0 ** np.linspace(-5, 5, len(graph.edge(b).constant)))
        column = scale.reshape(-1, 1, 1, 1)
        graph.set_constant(w, (graph.edge(w).constant * column).astype(np.float32))
        graph.set_constant(b, (graph.edge(b).constant * scale).astype(np.float32))
        graph.set_constant(v, (graph.edge(v).constant / scale[:, None, None]).astype(np.float32))
    images = every(cifar10_test, 10)
    model = tersor.compress(graph, calibration=normalised(calibration(0)))
    assert abs(top1(model, images, normalised) - top1(resnet20, images, normalised)) <= 0.8
    with pytest.warns(UserWarning, match="differs from the float one on the calibration samples"):
        tersor.compress(graph, calibration=normalised(calibration(0)), recipe={"equalize": False})


def test_exact_and_fast_arithmetic_agree_node_by_node(resnet20, cifar10_test):
    # On the same input codes: at most one code off, on at most 1 % of the codes.
    x = normalised(every(cifar10_test, 200).x)
    model = tersor.compress(resnet20, calibration=normalised(calibration(0)))
    fast, exact = tersor.Session(model), tersor.Session(model, arithmetic="exact")
    edges, values = model.graph.edges, exact.taps(x)
    for node in model.graph.nodes:
        names = [edges[i].name for i in node.inputs if not edges[i].is_constant]
        out = edges[node.outputs[0]].name
        got = fast.run_edges({name: values[name] for name in names}, [out])[out]
        off = np.abs(got.astype(np.float64) - values[out])
        assert off.max() <= 1, node.name
        assert (off > 0).mean() <= 0.001, node.name


def test_exact_and_fast_arithmetic_agree_on_classes(resnet20, cifar10_test):
    x = normalised(every(cifar10_test, 10).x)
    model = tersor.compress(resnet20, calibration=normalised(calibration(0)))
    fast = tersor.Session(model, tersor.get_threads())(x)
    exact = tersor.Session(model, tersor.get_threads(), arithmetic="exact")(x)
    # 99.9 % of all 10,000; single codes that float32 rounds otherwise still drift over 20 layers.
    assert (fast.argmax(1) == exact.argmax(1)).mean() >= 0.995


@pytest.mark.slow
def test_squeeze_excitation_and_hard_swish_keep_their_accuracy(cifar10_test):
    """A MobileNetV3-style network: channels cannot be evened out between its layers."""
    path = Path(__file__).parents[2] / "benchmarks/quantization/mobilenetv3_cifar10.tersor"
    graph = tersor.load(path).graph
    wanted = top1(graph, cifar10_test, normalised)
    assert wanted >= 84.8
    train = datasets.cifar10("train")
    chosen = np.random.default_rng(0).choice(len(train.y), 512, replace=False)
    model = tersor.compress(graph, calibration=normalised(train.x[chosen]))
    assert top1(model, cifar10_test, normalised) >= wanted - 0.5


def unlabeled(count):
    train = datasets.cifar10("train")
    chosen = np.random.default_rng(0).choice(len(train.y), count, replace=False)
    return normalised(train.x[chosen])


def coded_bytes(model):
    """Of all weights, each tensor coded alone, with steps and tables."""
    total = 0
    for edge in model.graph.edges:
        if edge.is_constant and edge.qparams is not None:
            q = edge.qparams
            total += len(tersor.coding.encode(np.asarray(edge.constant), "small"))
            total += 4 * len(q.scale) + (0 if q.codebook is None else 4 * q.codebook.size)
    return total


@pytest.mark.parametrize(("most_bytes", "least"), [(97_900, 86.6), (77_000, 85.5)])
@pytest.mark.extended
def test_resnet20_at_a_rate(resnet20, cifar10_test, most_bytes, least):
    recipe = {"values": "rate-distortion", "bits_per_weight": 8 * most_bytes / 268_336}
    model = tersor.compress(resnet20, recipe=recipe, calibration=unlabeled(512))
    assert coded_bytes(model) <= most_bytes
    assert top1(model, cifar10_test, normalised) >= least


@pytest.mark.slow
def test_resnet20_with_16_values_a_layer(resnet20, cifar10_test):
    model = tersor.compress(resnet20, recipe="codebook4", calibration=unlabeled(512))
    assert coded_bytes(model) <= 116_500
    assert top1(model, cifar10_test, normalised) >= 87.2
