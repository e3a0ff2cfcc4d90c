"""Names with brackets, slashes and colons are shown as they are."""

import io

import numpy as np
import pytest
from rich.console import Console

import tersor
from tersor.base.plain_text import plain_text
from tersor.compress import Recipe

NAMES = ("[/x]", "[red]a", "[bold", ":cat:", "a\\[b]", "[link=http://x]y")


def rendered(item):
    console = Console(file=io.StringIO(), width=200)
    console.print(item)
    return console.file.getvalue()


def network(name):
    graph = tersor.Graph()
    x = graph.add_input(f"{name} in", "float32", (None, 4))
    w = graph.add_constant(f"{name} w", np.eye(4, dtype=np.float32))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, f"{name} node")])
    graph.description = f"{name} title"
    return graph


@pytest.mark.parametrize("name", NAMES)
def test_text_is_shown_as_it_is(name):
    assert rendered(plain_text(name)) == f"{name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_tables_show_names_as_they_are(name):
    graph = network(name)
    shown = str(graph)
    for part in ("title", "in", "node"):
        assert f"{name} {part}" in shown
    model = tersor.compress(graph, recipe=Recipe(values="fp32", name=name))
    assert f"recipe {name}" in str(model)
    assert f"{name} node" in str(model)
    profile = tersor.Session(graph).profile(np.zeros((1, 4), np.float32), repeats=1)
    assert f"{name} node" in str(profile)
    report = tersor.compare({name: model}, title=f"{name} report", runs=1)
    shown = str(report)
    assert f"{name} report" in shown
    assert shown.count(name) == 5  # two tables: two titles, the variant twice, its recipe
