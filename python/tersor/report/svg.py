"""Charts as SVG text: horizontal bars and a scatter plot. No script, no font, no network.

Colours stand out on light and dark paper alike (at least 3:1 on white and on #0f1318); all other
ink is ``currentColor``, so that a chart follows the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# Gray is the baseline's.
BASELINE_COLOR = "#7d8590"
COLORS = ("#2f7de1", "#d9730d", "#0f9d8a", "#8b5cf6", "#e5484d", "#a16207")

_WIDTH = 520
_ROW = 34


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes
    ----------
    label, text, hint : str
        Before the bar, behind it, and on hover.
    value : float
        Length, not negative.
    color : str
    modelled : bool
        Drawn hatched, to tell it from measured bars.
    whisker : float or None
        A tick beyond the bar, such as the 95th percentile.
    """

    label: str
    value: float
    text: str
    color: str
    hint: str = ""
    modelled: bool = False
    whisker: float | None = None


@dataclass(frozen=True)
class Point:
    """One point of a scatter plot; `x` is above 0.

    Attributes
    ----------
    label, hint : str
    x, y : float
    color : str
    hollow : bool
    interval : (float, float) or None
        From where to where `y` is uncertain.
    """

    label: str
    x: float
    y: float
    color: str
    hint: str = ""
    hollow: bool = False
    interval: tuple[float, float] | None = None


def bar_chart(bars: Sequence[Bar], *, label: str) -> str:
    """Draw horizontal bars from zero.

    Parameters
    ----------
    bars : sequence of Bar
    label : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> bar_chart([Bar("int8", 2.0, "2 KB", COLORS[0])], label="size")[:4]
    '<svg'
    """
    # About 7 units a character at 13 px, 9 where it is bold; text may not leave the picture.
    left = 16 + 7 * max(len(bar.label) for bar in bars)
    right = 16 + 9 * max(len(bar.text) for bar in bars)
    room = max(_WIDTH - left - right, 80)
    width = left + room + right
    longest = max(max(bar.value, bar.whisker or 0.0) for bar in bars) or 1.0
    height = _ROW * len(bars) + 8
    parts = [open_svg(width, height, label)]
    parts.append(_hatch_patterns({bar.color for bar in bars if bar.modelled}))
    for row, bar in enumerate(bars):
        top = row * _ROW + 8
        length = room * bar.value / longest
        end = length if bar.whisker is None else max(length, room * bar.whisker / longest)
        fill = _hatch(bar.color) if bar.modelled else bar.color
        parts.append(f"<g><title>{escape(bar.hint or f'{bar.label}: {bar.text}')}</title>")
        parts.append(svg_text(left - 10, top + 14, bar.label, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{max(length, 1):.1f}" height="18" rx="3" '
            f'fill="{fill}" stroke="{bar.color}" stroke-width="{1 if bar.modelled else 0}"/>'
        )
        if bar.whisker is not None and bar.whisker > bar.value:
            parts.append(
                f'<path d="M{left + length:.1f} {top + 9}H{left + end:.1f}m0 -5v10" fill="none" '
                f'stroke="currentColor" stroke-opacity=".55"/>'
            )
        parts.append(svg_text(left + end + 8, top + 14, bar.text, weight=600))
        parts.append("</g>")
    parts.append(
        f'<path d="M{left} 2V{height - 2}" stroke="currentColor" stroke-opacity=".35"/></svg>'
    )
    return "".join(parts)


def scatter_chart(
    points: Sequence[Point],
    *,
    label: str,
    x_format: Callable[[float], str],
    y_format: Callable[[float], str],
    x_title: str,
    y_title: str,
    y_most: float = math.inf,
) -> str:
    """Draw points over a logarithmic x axis, with the Pareto front (small x, large y) as steps.

    Parameters
    ----------
    points : sequence of Point
    label : str
        What a screen reader says.
    x_format, y_format : callable
        Write a tick.
    x_title, y_title : str
    y_most : float
        No tick lies above it, such as 1 for shares.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    height, left, right, top, bottom = 300, 64, 24, 30, 46
    x_ticks = _log_ticks([point.x for point in points])
    shown = [y for point in points for y in (point.y, *(point.interval or ()))]
    y_ticks = _linear_ticks(shown, y_most)
    x_low, x_high = math.log2(x_ticks[0]), math.log2(x_ticks[-1])
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def x_at(x: float) -> float:
        return left + (math.log2(x) - x_low) / (x_high - x_low) * (_WIDTH - left - right)

    def y_at(y: float) -> float:
        return height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom)

    parts = [open_svg(_WIDTH, height, label)]
    for y in y_ticks:
        parts.append(
            f'<path d="M{left} {y_at(y):.1f}H{_WIDTH - right}" stroke="currentColor" '
            f'stroke-opacity=".14"/>'
        )
        parts.append(
            svg_text(left - 8, y_at(y) + 4, y_format(y), anchor="end", size=12, faint=True)
        )
    for x in x_ticks:
        parts.append(
            svg_text(x_at(x), height - bottom + 18, x_format(x), "middle", size=12, faint=True)
        )
    parts.append(svg_text((_WIDTH + left) / 2, height - 6, x_title, "middle", size=12, faint=True))
    parts.append(svg_text(left - 8, 14, y_title, "end" if len(y_title) < 8 else "start", size=12))
    front = _front([(point.x, point.y) for point in points])
    steps = "".join(
        f"{'M' if index == 0 else 'H'}{x_at(x):.1f}"
        + (f" {y_at(y):.1f}" if index == 0 else f"V{y_at(y):.1f}")
        for index, (x, y) in enumerate(front)
    )
    if len(front) > 1:
        parts.append(
            f'<path d="{steps}" fill="none" stroke="currentColor" stroke-opacity=".4" '
            f'stroke-dasharray="4 4"/>'
        )
    placed: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: y_at(point.y)):
        x, y = x_at(point.x), y_at(point.y)
        fill = "none" if point.hollow else point.color
        length = 13 + 7.5 * len(point.label)
        near_end = x + length > _WIDTH - 4
        start = x - length if near_end else x
        text_y = _free_height(y, start, start + length, placed)
        placed.append((text_y, start, start + length))
        parts.append(f"<g><title>{escape(point.hint or point.label)}</title>")
        if point.interval is not None:
            low, high = (y_at(edge) for edge in point.interval)
            parts.append(
                f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 5:.1f} {low:.1f}h10'
                f'M{x - 5:.1f} {high:.1f}h10" fill="none" stroke="{point.color}" '
                f'stroke-opacity=".55" stroke-width="1.5"/>'
            )
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5" fill="{fill}" stroke="{point.color}" '
            f'stroke-width="2.5"/>'
        )
        shift, anchor = (-13, "end") if near_end else (13, "start")
        parts.append(svg_text(x + shift, text_y + 4, point.label, anchor, weight=600))
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def open_svg(width: float, height: float, label: str) -> str:
    """Return the start of a picture.

    Parameters
    ----------
    width, height : float
    label : str
        What a screen reader says.

    Returns
    -------
    str
    """
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}" '
        f'font-size="13" fill="currentColor">'
    )


def svg_text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    *,
    size: int = 13,
    weight: int = 400,
    faint: bool = False,
) -> str:
    """Return a text element.

    Parameters
    ----------
    x, y : float
    text : str
    anchor : {"start", "middle", "end"}
    size, weight : int
    faint : bool

    Returns
    -------
    str
    """
    opacity = ' fill-opacity=".65"' if faint else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}"{opacity}>{escape(text)}</text>'
    )


def _hatch(color: str) -> str:
    return f"url(#hatch-{color.removeprefix('#')})"


def _hatch_patterns(colors: set[str]) -> str:
    patterns = "".join(
        f'<pattern id="hatch-{color.removeprefix("#")}" width="7" height="7" '
        f'patternTransform="rotate(45)" patternUnits="userSpaceOnUse">'
        f'<rect width="7" height="7" fill="{color}" fill-opacity=".22"/>'
        f'<rect width="2.5" height="7" fill="{color}"/></pattern>'
        for color in sorted(colors)
    )
    return f"<defs>{patterns}</defs>" if patterns else ""


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other point beats in both, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return powers of two around the values, three to seven of them."""
    low = math.floor(math.log2(min(values)) - 0.3)
    high = math.ceil(math.log2(max(values)) + 0.3)
    high = max(high, low + 2)
    step = math.ceil((high - low) / 6)
    high = low + step * math.ceil((high - low) / step)
    return [2.0**power for power in range(low, high + 1, step)]


def _linear_ticks(values: Sequence[float], most: float) -> list[float]:
    """Return round values around the given ones, at least one hundredth apart in all."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.01)
    middle = (low + high) / 2
    low, high = middle - 0.75 * spread, middle + 0.75 * spread
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    if most < last * step:
        last = max(math.ceil(most / step - 1e-9), first + 1)
    return [index * step for index in range(first, last + 1)]


def _free_height(
    y: float, start: float, end: float, placed: Sequence[tuple[float, float, float]]
) -> float:
    """Return a height at or below `y` where a label hides none of those above it."""
    for other_y, other_start, other_end in sorted(placed):
        if start < other_end and other_start < end and abs(y - other_y) < 15:
            y = other_y + 15
    return y


__all__ = [
    "BASELINE_COLOR",
    "COLORS",
    "Bar",
    "Point",
    "bar_chart",
    "open_svg",
    "scatter_chart",
    "svg_text",
]
