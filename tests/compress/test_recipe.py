"""Recipes are plain data: they come back from YAML, and mistakes are explained."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.compress import LayerFormat, RangeSearch, Recipe

FULL = Recipe(
    name="mine",
    layers={
        "stem": "fp32",
        "layer1.*": "int8",
        "fc": LayerFormat("w4a32", bits=5, group_size=64, float_zero_point=True),
    },
    activations=RangeSearch("percentile", 0.999),
    weights=RangeSearch("mse"),
    dense_per_channel=True,
    equalize_relu6=True,
    absorb_bias=True,
    correct_bias=False,
    conv_per_channel=False,
    rounding="gptq",
    samples=64,
)


NAMES = (
    "int8", "int8-dynamic", "fp16", "bf16", "fp32", "w8a32", "w4a32", "w3a32", "w4a8", "codebook4",
    "codebook2", "codebook4a8", "rate-distortion", "keep",
)  # fmt: skip
GROUPED = Recipe("w3a32", group_size=16, float_zero_point=True, weights=RangeSearch("mse"))


@st.composite
def recipes(draw):
    """Any recipe: keys that would mean nothing to it are left out."""
    values = draw(st.sampled_from(NAMES))

    def formats(values):
        more = {}
        if values in ("w8a32", "w4a32", "w3a32"):
            more["group_size"] = draw(st.none() | st.integers(0, 99))
            more["float_zero_point"] = draw(st.booleans())
        if values in ("w8a32", "w4a32", "w3a32", "int8", "w4a8"):
            more["bits"] = draw(st.none() | st.integers(2, 8))
        if values.startswith("codebook"):
            more["bits"] = draw(st.none() | st.integers(1, 8))
        return more

    given = formats(values)
    if values != "keep":
        patterns = draw(st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=3))
        others = [draw(st.sampled_from(NAMES[:-1])) for _ in patterns]
        layers = {p: LayerFormat(v, **formats(v)) for p, v in zip(patterns, others, strict=True)}
        given["layers"] = layers
    search = st.builds(RangeSearch, st.sampled_from(["mse", "minmax", "entropy"])) | st.builds(
        RangeSearch, st.just("percentile"), st.floats(0.51, 1)
    )
    wanted = {
        "name": st.text(max_size=5),
        "activations": search,
        "weights": st.builds(RangeSearch, st.sampled_from(["mse", "minmax"])),
        "rounding": st.sampled_from([None, "gptq", "nearest"]),
        "samples": st.integers(1, 9999),
        **dict.fromkeys(
            ("dense_per_channel", "equalize", "equalize_relu6", "absorb_bias", "correct_bias",
             "conv_per_channel"), st.booleans()
        ),
    }  # fmt: skip
    for key, strategy in wanted.items():
        more = {**given, key: draw(strategy)}
        with contextlib.suppress(ValueError):  # it would change nothing
            Recipe(values, **more)
            given = more
    return Recipe(values, **given)


@given(recipes())
def test_yaml_holds_everything(recipe):
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again == recipe
    assert list(again.layers) == list(recipe.layers)  # the last pattern that matches counts
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"values": "w4a32", "equalize": False}, "equalize is for layers with int8 activations"),
        ({"values": "w4a32", "activations": {"method": "minmax"}}, "activations is for layers"),
        ({"values": "fp16", "rounding": "gptq"}, "rounding is for quantized weights"),
        ({"values": "fp32", "samples": 9}, "samples is for quantized weights"),
        ({"values": "bf16", "weights": {"method": "mse"}}, "weights is for quantized weights"),
        ({"values": "keep", "rounding": "nearest"}, "rounding is for quantized weights"),
        ({"values": "w4a8", "conv_per_channel": False}, "conv_per_channel is for .* of 8 bits"),
        ({"values": "w4a8", "dense_per_channel": True}, "dense_per_channel is for .* of 8 bits"),
        ({"equalize": False, "equalize_relu6": True}, "equalize_relu6 is for equalized layers"),
        ({"values": "fp16", "bits": 4}, "bits need quantized values, got 'fp16'"),
        ({"values": "int8-dynamic", "bits": 4}, "bits of 'int8-dynamic' must be 8"),
        ({"values": "keep", "bits": 4}, "bits, group_size and float_zero_point need other"),
        ({"activations": {"percentile": 0.9}}, "percentile is for method 'percentile', got .*mse"),
    ],
)
def test_keys_that_would_change_nothing_are_refused(value, text):
    with pytest.raises(ValueError, match=text):
        Recipe.parse(value)


def test_the_message_lists_the_keys_that_have_an_effect():
    with pytest.raises(ValueError, match="'w4a32' has not; keys that have an effect: ") as caught:
        Recipe("w4a32", equalize=False)
    known = str(caught.value).split("effect: ")[1].split(", ")
    assert "group_size" in known
    assert "rounding" in known
    assert "equalize" not in known
    assert "conv_per_channel" not in known


def test_bits_of_the_network():
    recipe = Recipe.parse({"values": "w4a32", "bits": 5})
    assert recipe.format == LayerFormat("w4a32", bits=5)
    assert recipe.format.group_size == 32
    assert Recipe("int8", bits=np.int64(6)).format.describe() == "int8 6 bits"


def test_patterns_are_text():
    assert list(Recipe.parse({"layers": {0: "fp32"}}).layers) == ["0"]  # of a Sequential, in YAML
    for wrong in (None, True, 1.5):
        with pytest.raises(TypeError, match="layers must have patterns as text"):
            Recipe.parse({"layers": {wrong: "fp32"}})


def test_weights_without_a_method_are_the_default():
    assert Recipe.parse({"weights": {}}) == Recipe()


@pytest.mark.parametrize("recipe", [Recipe(), FULL, GROUPED, *map(Recipe.parse, NAMES)])
def test_round_trip(recipe, tmp_path):
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.parse(path) == Recipe.parse(str(path)) == recipe
    assert Recipe.parse(recipe) is recipe


def test_names():
    assert Recipe.parse(None) == Recipe.parse("int8") == Recipe()
    for name in NAMES:
        recipe = Recipe.parse(name)
        assert (recipe.name, recipe.values) == (name, name)
        assert recipe.needs_calibration == (name in ("int8", "w4a8", "codebook4a8"))


def test_a_layer_may_need_calibration():
    assert Recipe("w4a32", layers={"a": "int8"}).needs_calibration
    assert not Recipe("w4a32", layers={"a": "fp16"}).needs_calibration


def test_formats_of_layers():
    recipe = Recipe.parse({"values": "w4a32", "layers": {"a": "w8a32", "b": {"values": "int8"}}})
    assert recipe.format == LayerFormat("w4a32", bits=4, group_size=32)
    assert recipe.layers["a"] == LayerFormat("w8a32", bits=8, group_size=0)
    assert recipe.layers["b"].activations == "int8"
    assert Recipe("w4a32", group_size=0).format.group_size == 0
    texts = [
        LayerFormat(*given).describe()
        for given in (("int8",), ("w3a32",), ("w4a32", 5, 0), ("w4a32", None, 64, True))
    ]
    assert texts == ["int8", "w3a32 group 32", "w4a32 5 bits", "w4a32 group 64 float zero points"]


def test_plain_data_is_short():
    assert LayerFormat("w4a32").to_plain() == "w4a32"
    assert LayerFormat("w4a32", bits=4, group_size=8).to_plain() == {
        "values": "w4a32",
        "group_size": 8,
    }


def test_with_layers_appends():
    recipe = Recipe(layers={"a": "fp32"}).with_layers({"b": "int8"})
    assert [(p, f.values) for p, f in recipe.layers.items()] == [("a", "fp32"), ("b", "int8")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("in8", r"recipe must be int8, .* or keep, got 'in8' \(did you mean 'int8'\?\)"),
        ({"value": "int8"}, r"unknown key 'value' \(did you mean 'values'\?\)"),
        ({"values": "int4"}, "recipe values must be .* got 'int4'"),
        ({"layers": {"a": "w4a16"}}, r"layer 'a' must be .* got 'w4a16' \(did you mean 'w4a8'"),
        ({"layers": {"a": "keep"}}, "layer 'a' must be int8, .* or rate-distortion, got 'keep'"),
        ({"layers": {"a": {"bits": 4}}}, "recipe layer 'a': missing key 'values'"),
        (
            {"layers": {"a": {"values": "w4a32", "group": 4}}},
            r"layer 'a': unknown key 'group' \(did you mean 'group_size'\?\)",
        ),
        ({"layers": {"a": {"values": "w4a32", "bits": 9}}}, r"bits must be in \[2, 8\], got 9"),
        (
            {"layers": {"a": {"values": "fp16", "bits": 4}}},
            "bits need quantized values, got 'fp16'",
        ),
        (
            {"layers": {"a": {"values": "int8-dynamic", "bits": 4}}},
            "'int8-dynamic' must be 8, got 4",
        ),
        ({"values": "w4a8", "group_size": 32}, "group_size is for weights of float activations"),
        ({"float_zero_point": True}, "float_zero_point is for weights of float .* got 'int8'"),
        ({"values": "w4a32", "group_size": -1}, r"group_size must be in \[0, .* got -1"),
        ({"values": "keep", "layers": {"a": "fp32"}}, "layers need other values than 'keep'"),
        ({"values": "keep", "group_size": 8}, "need other values than keep"),
        (
            {"activations": {"method": "median"}},
            "method must be mse, minmax, percentile or entropy",
        ),
        ({"weights": {"method": "entropy"}}, "weights method must be minmax or mse, got 'entropy'"),
        ({"activations": {"bins": 9}}, "recipe activations: unknown key 'bins'"),
        ({"activations": {"method": "percentile", "percentile": 0.2}}, r"in \(0.5, 1\], got 0.2"),
        ({"weights": {"method": "percentile"}}, "weights method must be minmax or mse"),
        ({"samples": 0}, "samples must be an integer >= 1, got 0"),
    ],
)
def test_mistakes_are_explained(value, text):
    with pytest.raises(ValueError, match=text):
        Recipe.parse(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": 3}, "name must be text, got 3"),
        ({"name": ["a"]}, r"name must be text, got \['a'\]"),
        ({"name": None}, "name must be text, got None"),
        ({"samples": True}, "samples must be an integer >= 1, got True"),
        ({"samples": 1.5}, r"samples must be an integer >= 1, got 1\.5"),
        ({"equalize": "yes"}, "equalize must be true or false, got 'yes'"),
        ({"correct_bias": 1}, "correct_bias must be true or false, got 1"),
        ({"activations": {"percentile": "x"}}, "percentile must be a number, got 'x'"),
        ({"activations": {"percentile": None}}, "percentile must be a number, got None"),
        ({"activations": {"percentile": True}}, "percentile must be a number, got True"),
        ({"group_size": 1.5}, "group_size must be an integer, got 1.5"),
        ({"group_size": True}, "group_size must be an integer, got True"),
        ({"float_zero_point": 1}, "float_zero_point must be true or false, got 1"),
        ({"layers": {"a": 3}}, "recipe layer 'a' must be a mapping with keys values"),
        ({"layers": {"a": {"values": "int8", "float_zero_point": 0}}}, "must be true or false"),
        ({"weights": "mse"}, "recipe weights must be a mapping with keys method"),
        (3, "recipe must be a mapping with keys"),
    ],
)
def test_wrong_types_are_explained(value, text):
    with pytest.raises(TypeError, match=text):
        Recipe.parse(value)


def test_parts_must_be_of_their_type():
    with pytest.raises(TypeError, match="activations must be a RangeSearch, got 'mse'"):
        Recipe(activations="mse")
    with pytest.raises(TypeError, match=r"layers must be a mapping .*, got \['a'\]"):
        Recipe(layers=["a"])


def test_numbers_of_numpy_become_plain():
    recipe = Recipe(samples=np.int64(9), activations=RangeSearch("percentile", np.float32(0.75)))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@given(
    key=st.sampled_from(tuple(Recipe.__dataclass_fields__)),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=4,
    ),
)
def test_anything_in_yaml_is_a_recipe_or_a_sentence(key, value):
    try:
        recipe, message = Recipe.from_dict({key: value}), "recipe"
    except (TypeError, ValueError) as error:
        recipe, message = Recipe(), str(error)
    assert message.startswith("recipe")
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_layers_must_be_a_mapping():
    with pytest.raises(TypeError, match="layers must be a mapping of patterns to values, got list"):
        Recipe.parse({"layers": ["stem"]})


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"recipe file not found: nowhere\.yaml"):
        Recipe.parse("nowhere.yaml")
