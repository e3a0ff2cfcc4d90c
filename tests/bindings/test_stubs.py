"""The checked-in stubs are those of the extension that is installed."""

from __future__ import annotations

import ast

import pytest

pytest.importorskip("pybind11_stubgen")

from tests.bindings import write_stubs


def shape_of(text: str) -> str:
    """Classes, functions, parameters and their defaults: what no version of the tools changes."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    kept = (ast.FunctionDef, ast.ClassDef)
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, kept))


def test_stubs_are_fresh():
    written = write_stubs.stubs()
    checked_in = {path.name: path.read_text() for path in write_stubs.STUBS.glob("*.pyi")}
    assert set(written) == set(checked_in), "run `make stubs`"
    for name, text in written.items():
        same = text.splitlines()[0] == checked_in[name].splitlines()[0]  # the same tools
        normal = str if same else shape_of
        assert normal(checked_in[name]) == normal(text), f"{name}: run `make stubs`"
