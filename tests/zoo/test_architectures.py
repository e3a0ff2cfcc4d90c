"""Every architecture: published sizes, a step of training, and the session against PyTorch."""

import numpy as np
import pytest

import tersor

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

from tersor import zoo  # noqa: E402
from tersor.zoo.densenet import DenseNet  # noqa: E402
from tersor.zoo.efficientnet import EfficientNet  # noqa: E402
from tersor.zoo.mobilenetv3 import MobileNetV3, Row  # noqa: E402
from tersor.zoo.resnet import ResNet  # noqa: E402
from tersor.zoo.resnet_cifar import ProjectedBlock  # noqa: E402
from tests import architectures, exports  # noqa: E402

# Trained parameters at full size, from the papers' implementations (torchvision, Keras for V1 and
# the two of MLPerf Tiny, whose model cards count the statistics of BatchNorm too).
PARAMETERS = {
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "ds_cnn": 24_908 - 1_152,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b3": 12_233_232,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "resnet8": 78_666 - 480,
    "resnet20": 269_722,
    "resnet50": 25_557_032,
    "resnet56": 853_018,
    "small_cnn": 324_394 - 896,
    "small_cnn_separable": 72_426,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "staged_cnn": 94_762,
    "vgg16": 138_357_544,
}
# Captured at full size by torch.export, which takes seconds each. Deep ones are captured with fewer
# blocks; they and the siblings, which differ in their tables only, come whole through the exporter
# that is faster.
CAPTURED = [
    "ds_cnn",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet8",
    "resnet20",
    "small_cnn",
    "small_cnn_separable",
    "squeezenet1_1",
]
ROWS = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(5, 96, 24, True, nn.Hardswish, 1),
)
SHALLOW = {
    "densenet": lambda **options: DenseNet("densenet", (2, 1, 2), **options),
    "efficientnet": lambda **options: EfficientNet(
        "efficientnet", 0.3, dropout=0.2, stochastic_depth=0.2, **options
    ),
    "mobilenet_v3": lambda **options: MobileNetV3(
        "mobilenet_v3", ROWS, 1024, dropout=0.2, **options
    ),
    "resnet": lambda **options: ResNet("resnet", (1, 2, 1), **options),
}


def small(name, **options):
    """Return a narrow variant for small images."""
    size = {} if name == "ds_cnn" else {"input_size": 32}
    return zoo.create(name, **size, **{"num_classes": 10, "width": 0.25, **options})


def assert_session_equals(module, graph):
    rng = np.random.default_rng(0)
    session = tersor.Session(graph, threads=1)
    for batch in (1, 2):
        x = rng.normal(size=(batch, *module.input_shape)).astype(np.float32)
        with torch.no_grad():
            expected = module(torch.from_numpy(x)).numpy()
        assert expected.std() > 0
        assert np.abs(session(x) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", zoo.names())
def test_parameters(name):
    with torch.device("meta"):
        module = zoo.create(name) if name != "small_cnn_separable" else None
    module = module or zoo.create(name)
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", zoo.names())
def test_trains_a_step(name):
    torch.manual_seed(0)
    module = small(name)
    x = torch.randn(4, *module.input_shape)
    y = torch.arange(4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    loss = torch.nn.functional.cross_entropy(module(x), y)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    optimizer.step()
    changed = [n for n, p in module.named_parameters() if not torch.equal(p, before[n])]
    assert len(changed) > 0.9 * len(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CAPTURED, *SHALLOW])
def test_session_equals_captured_module(name):
    torch.manual_seed(0)
    if name in SHALLOW:
        module = SHALLOW[name](num_classes=1000, input_size=224, width=1.0)
    else:
        module = zoo.create(name)
    architectures.initialise(module)
    graph = tersor.from_torch(module, torch.zeros(1, *module.input_shape))
    assert graph.inputs[0].shape == (None, *module.input_shape)
    assert_session_equals(module, graph)


@pytest.mark.parametrize("name", [n for n in zoo.names() if n not in CAPTURED])
def test_session_equals_siblings(name, tmp_path):
    torch.manual_seed(0)
    module = architectures.initialise(small(name, width=0.5))
    path = exports.export(module, (torch.zeros(2, *module.input_shape),), tmp_path / "net.onnx")
    assert_session_equals(module, tersor.load(path))


@pytest.mark.parametrize(
    "name", ["ds_cnn", "efficientnet_b0", "mobilenet_v3_small", "small_cnn_separable"]
)
def test_int8(name, tmp_path):
    """Every layer has an int8 form, and random weights keep most of the signal."""
    torch.manual_seed(0)
    module = architectures.initialise(small(name, width=0.5))
    path = exports.export(module, (torch.zeros(2, *module.input_shape),), tmp_path / "net.onnx")
    graph = tersor.load(path)
    x = np.random.default_rng(0).normal(size=(48, *module.input_shape)).astype(np.float32)
    compressed = tersor.compress(graph, calibration=x[16:])
    between = [n.op for n in compressed.graph.nodes if n.op not in ("quantize", "dequantize")]
    assert len(between) == len(compressed.graph.nodes) - 2
    wanted = tersor.Session(graph, threads=1)(x[:16])
    got = tersor.Session(compressed, threads=1)(x[:16])
    assert 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()) > 17


@pytest.mark.parametrize("name", [n for n in zoo.names() if n != "ds_cnn"])
def test_small_variant_keeps_pixels(name):
    """32 x 32 images end at 2 x 2 pixels or more before the mean (VGG: one, by its design)."""
    module = small(name).eval()
    sizes = []
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size[0] > 1:
            layer.register_forward_hook(lambda _, x, y: sizes.append(y.shape[-1]))
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sizes[0] == 32
    assert min(sizes) >= (2 if name == "vgg16" else 4)


def test_staged_cnn_by_hand():
    module = zoo.staged_cnn(filters=8, kernel=5, depth=2, separable=True, num_classes=4)
    stem, rest = 3 * 25 * 8 + 16, 8 * 25 + 16 + 8 * 16 + 32
    assert sum(p.numel() for p in module.parameters()) == stem + rest + 16 * 4 + 4
    for options, message in (({"kernel": 4}, "kernel must be odd"), ({"depth": 7}, "leave pixels")):
        with pytest.raises(ValueError, match=message):
            zoo.staged_cnn(**options)


def test_width_scales_parameters():
    # Sandler et al. 2018 and the released checkpoints: 1.97 M at 0.5, 6.11 M at 1.4.
    for width, count in ((0.5, 1_968_680), (1.4, 6_108_776)):
        module = zoo.mobilenet_v2(width=width)
        assert sum(p.numel() for p in module.parameters()) == count


def test_stochastic_depth_and_dropout_rest_in_eval_mode():
    module = small("efficientnet_b0", stochastic_depth=0.5).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(module(x), module(x))
        module.train()
        assert not torch.equal(module(x), module(x))


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [
        ("resnet20-cifar10", "resnet20", {}),
        ("mobilenetv2-cifar10", "mobilenet_v2", {"num_classes": 10, "input_size": 32}),
    ],
)
def test_trained_weights_load(models_dir, file, name, options):
    safetensors = pytest.importorskip("safetensors.torch")
    module = zoo.create(name, **options)
    module.load_state_dict(safetensors.load_file(models_dir / f"{file}.safetensors"))
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(x)).numpy()
    expected = tersor.Session(tersor.load(models_dir / f"{file}.onnx"))(x)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", [n for n in zoo.names() if n != "ds_cnn"])
def test_odd_sizes(name):
    module = zoo.create(name, num_classes=3, input_size=33, width=0.25).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 33, 33)).shape == (1, 3)


@pytest.mark.parametrize("size", [33, 34])
def test_padding_of_odd_sides(size, tmp_path):
    """Of resnet8 as Keras's "same" does: one pixel on both ends of an odd side."""
    torch.manual_seed(0)
    block = ProjectedBlock(2, 3, 2)
    block.bn1, block.bn2, block.shortcut = nn.Identity(), nn.Identity(), nn.Conv2d(2, 3, 1, 2)
    nn.init.zeros_(block.shortcut.weight)
    nn.init.dirac_(block.conv2.weight)
    x = torch.randn(1, 2, size, 41)
    pads = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in x.shape[2:]]
    padded = torch.nn.functional.pad(x, [p for n in pads[::-1] for p in (n // 2, n - n // 2)])
    shift = (block.shortcut.bias + block.conv2.bias)[:, None, None]
    with torch.no_grad():
        expected = (block.conv1(padded).relu() + shift).relu()
        torch.testing.assert_close(block(x), expected)
    module = architectures.initialise(zoo.resnet8(input_size=size, width=0.5))
    path = exports.export(module, (torch.zeros(2, *module.input_shape),), tmp_path / "net.onnx")
    assert_session_equals(module, tersor.load(path))
    assert_session_equals(module, tersor.from_torch(module, torch.zeros(1, *module.input_shape)))


def test_sizes_are_integers():
    for options in ({"input_size": 32.5}, {"input_size": "32"}, {"num_classes": 10.0}):
        with pytest.raises(TypeError, match=rf"resnet8: {next(iter(options))} must be an integer"):
            zoo.resnet8(**options)
    assert zoo.resnet8(input_size=np.int64(32)).input_shape == (3, 32, 32)
