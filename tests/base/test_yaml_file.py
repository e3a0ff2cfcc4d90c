"""Strict YAML: round trips and refusals."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.base.yaml_file import format_yaml, parse_yaml, read_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_round_trip(document):
    assert parse_yaml(format_yaml(document), what="document") == document


def test_a_line_per_key():
    document = {"name": "a", "range": [1, 2], "inner": {"x": 1}, "deep": {"y": [1, {"z": 2}]}}
    assert format_yaml(document) == (
        "name: a\nrange: [1, 2]\ninner: {x: 1}\ndeep:\n  y:\n  - 1\n  - {z: 2}\n"
    )
    assert format_yaml({}) == "{}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "at line 2: duplicate key 'a'"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("[1, 2]", "must be a YAML mapping"),
        ("", "must be a YAML mapping"),
        ("a: [1", "not valid YAML"),
        ("1: 2", "keys must be text, got 1"),
        ("[a]: 2", "keys must be text"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("#" * (5 << 20), "at most 4194304 characters"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text, what="recipe")


def test_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="recipe not found"):
        read_yaml(tmp_path / "none.yaml", what="recipe")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        read_yaml(bad, what="recipe")
    bad.write_bytes(b"#" * (5 << 20))
    with pytest.raises(ValueError, match="at most 4194304 bytes"):
        read_yaml(bad, what="recipe")


@given(st.text(max_size=60))
def test_any_text_ends_in_a_mapping_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(parse_yaml(text, what="x"), dict)
