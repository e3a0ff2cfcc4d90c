"""Recipes are plain data: they come back from YAML, and mistakes are explained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.compress import RangeSearch, Recipe

FULL = Recipe(
    name="mine",
    layers={"stem": "fp32", "layer1.*": "int8"},
    activations=RangeSearch("percentile", 0.999),
    weights=RangeSearch("mse"),
    dense_per_channel=True,
    equalize=False,
    equalize_relu6=True,
    correct_bias=False,
    samples=64,
)


@pytest.mark.parametrize("recipe", [Recipe(), FULL, *map(Recipe.parse, ("fp32", "bf16", "keep"))])
def test_round_trip(recipe, tmp_path):
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.parse(path) == Recipe.parse(str(path)) == recipe
    assert Recipe.parse(recipe) is recipe


def test_names():
    assert Recipe.parse(None) == Recipe.parse("int8") == Recipe()
    for name in ("fp32", "bf16", "int8", "keep"):
        recipe = Recipe.parse(name)
        assert (recipe.name, recipe.values) == (name, name)
        assert recipe.needs_calibration == (name == "int8")


def test_with_layers_appends():
    recipe = Recipe(layers={"a": "fp32"}).with_layers({"b": "int8"})
    assert list(recipe.layers.items()) == [("a", "fp32"), ("b", "int8")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("in8", r"recipe must be fp32, bf16, int8 or keep, got 'in8' \(did you mean 'int8'\?\)"),
        ({"value": "int8"}, r"unknown key 'value' \(did you mean 'values'\?\)"),
        ({"values": "int4"}, "recipe values must be .* got 'int4'"),
        ({"layers": {"a": "int4"}}, "recipe layer 'a' must be int8 or fp32, got 'int4'"),
        ({"values": "bf16", "layers": {"a": "fp32"}}, "layers need values int8, got 'bf16'"),
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
