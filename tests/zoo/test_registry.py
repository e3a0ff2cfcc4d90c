"""Architectures by name; what is imported when."""

import inspect
import subprocess
import sys

import pytest

import tersor.zoo as zoo


def test_torch_is_imported_when_a_network_is_built():
    code = (
        "import sys, tersor.zoo as zoo; zoo.names(); assert 'torch' not in sys.modules;"
        "zoo.load_digits_network(); assert 'torch' not in sys.modules;"
        "zoo.resnet8(); assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names():
    pytest.importorskip("torch")
    assert {"small_cnn", "resnet20", "mobilenet_v3_large", "vgg16"} <= set(zoo.names())
    assert set(zoo.names()) <= set(zoo.__all__) <= set(dir(zoo))
    for name in zoo.names():
        parameters = inspect.signature(getattr(zoo, name)).parameters
        assert {"num_classes", "input_size", "width"} <= set(parameters)
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


def test_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import tersor.zoo as zoo\n"
        "try: zoo.resnet8\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "resnet8 needs PyTorch: pip install tersor[torch]"


def test_bad_names_and_options():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'resnet18' \(did you mean"):
        zoo.create("resnet18")
    with pytest.raises(AttributeError, match="no attribute 'resnet18'"):
        _ = zoo.resnet18
    with pytest.raises(TypeError, match="depth"):
        zoo.create("resnet20", depth=3)


@pytest.mark.parametrize("name", zoo.names())
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"width": 0.0}, "width must be positive, got 0.0"),
        ({"width": float("nan")}, "width must be positive, got nan"),
        ({"input_size": 31}, "input_size must be at least 32, got 31"),
    ],
)
def test_options_out_of_range(name, options, message):
    pytest.importorskip("torch")
    if name == "ds_cnn" and "input_size" in options:
        options, message = {"input_size": (3, 10)}, r"input_size must be at least \(4, 4\)"
    with pytest.raises(ValueError, match=f"{name.removesuffix('_separable')}: {message}"):
        zoo.create(name, **options)
