"""Charts: well-formed, inside the picture, ticks around the values."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.report import svg
from tersor.report.svg import COLORS, Bar, Point, bar_chart, scatter_chart

NAMES = st.text(alphabet="abc<&\"'é", min_size=1, max_size=12)
SIZES = st.floats(1, 1e9)


def parse(text):
    return ET.fromstring(text)


@given(st.lists(st.tuples(NAMES, SIZES, st.booleans()), min_size=1, max_size=8))
def test_bar_charts_are_well_formed(rows):
    bars = [Bar(n, v, f"{v:.0f}", COLORS[0], modelled=m, whisker=v * 1.2) for n, v, m in rows]
    tree = parse(bar_chart(bars, label="sizes"))
    rectangles = [element for element in tree.iter("rect") if element.get("rx")]
    assert len(rectangles) == len(rows)
    width = float(tree.get("viewBox").split()[2])
    assert all(0 < float(r.get("x")) + float(r.get("width")) <= width for r in rectangles)
    used = set(re.findall(r"url\(#([\w-]+)\)", ET.tostring(tree, "unicode")))
    assert used == {element.get("id") for element in tree.iter("pattern")}


def test_bars_are_proportional_from_zero():
    tree = parse(
        bar_chart([Bar("a", 1.0, "1", COLORS[0]), Bar("b", 4.0, "4", COLORS[1])], label="x")
    )
    short, long = (float(r.get("width")) for r in tree.iter("rect"))
    assert long == pytest.approx(4 * short, rel=1e-2)


def scatter(points):
    return scatter_chart(
        points, label="x", x_format=str, y_format=str, x_title="x", y_title="y", y_most=1.0
    )


@given(st.lists(st.tuples(NAMES, SIZES, st.floats(0, 1)), min_size=1, max_size=8))
def test_scatter_charts_hold_their_points(rows):
    tree = parse(scatter([Point(n, x, y, COLORS[0]) for n, x, y in rows]))
    circles = list(tree.iter("circle"))
    assert len(circles) == len(rows)
    for circle in circles:
        assert 64 - 1e-6 <= float(circle.get("cx")) <= 520 - 24 + 1e-6
        assert 30 - 0.1 <= float(circle.get("cy")) <= 300 - 46 + 0.1


def test_labels_of_near_points_do_not_hide_each_other():
    tree = parse(scatter([Point("a", 100, 0.5, "#000000"), Point("b", 101, 0.5001, "#000000")]))
    heights = [float(t.get("y")) for t in tree.iter("text") if t.text in ("a", "b")]
    assert abs(heights[0] - heights[1]) >= 15


def test_front_keeps_what_nothing_beats():
    points = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (3.0, 0.8), (4.0, 0.9)]
    assert svg._front(points) == [(1.0, 0.5), (3.0, 0.9)]


@given(st.lists(SIZES, min_size=1, max_size=5))
def test_log_ticks_enclose(values):
    ticks = svg._log_ticks(values)
    assert ticks[0] <= min(values)
    assert ticks[-1] >= max(values)
    assert 3 <= len(ticks) <= 7
    assert all(math.log2(tick).is_integer() for tick in ticks)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_linear_ticks_enclose_and_stop_at_the_most(values):
    ticks = svg._linear_ticks(values, 1.0)
    assert ticks[0] <= min(values) + 1e-12
    assert ticks[-1] >= max(values) - 1e-12
    assert ticks[-1] < 1.0 + (ticks[1] - ticks[0])
    assert 2 <= len(ticks) <= 9
