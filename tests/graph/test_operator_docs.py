"""docs/reference/operators.md names every operator with its quantization word and attributes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tersor

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "operators.md"
OPERATORS = tersor._core.graph.OPERATORS


def rows() -> dict[str, list[str]]:
    """Cells of the big table by operator name."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) == 5 and cells[0] != "operator":
            for name in cells[0].split(", "):
                found[name] = cells
    return found


def test_every_operator_is_documented() -> None:
    assert {o["name"] for o in OPERATORS} <= set(rows())


@pytest.mark.parametrize("operator", OPERATORS, ids=[o["name"] for o in OPERATORS])
def test_row_agrees_with_the_table(operator: dict[str, object]) -> None:
    cells = rows()[str(operator["name"])]
    assert cells[4] == operator["constraint"]
    text = cells[3]
    for other in ("conv", "max_pool"):
        if f"as {other}" in text:
            text += rows()[other][3]
    words = set(re.findall(r"\w+", text))
    assert set(operator["attributes"]) <= words  # type: ignore[call-overload]
