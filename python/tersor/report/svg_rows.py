"""Charts with a row for each variant, as SVG text: stacked bars and distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from .svg import open_svg, svg_text

_WIDTH = 520
_ROW = 34
_LEGEND = 24


@dataclass(frozen=True)
class Stack:
    """One bar of several parts.

    Attributes
    ----------
    label, text : str
        Before the bar and behind it.
    parts : sequence of (float, str, str)
        Length, colour, and what hovering shows.
    """

    label: str
    text: str
    parts: Sequence[tuple[float, str, str]]


@dataclass(frozen=True)
class Strip:
    """One distribution.

    Attributes
    ----------
    label, text, hint : str
        Before the strip, behind it, and on hover.
    quantiles : sequence of float
        At equal steps from 0 to 100 %, ascending.
    color : str
    """

    label: str
    text: str
    quantiles: Sequence[float]
    color: str
    hint: str = ""


def stacked_chart(stacks: Sequence[Stack], legend: Sequence[tuple[str, str]], *, label: str) -> str:
    """Draw horizontal bars of several parts.

    Parameters
    ----------
    stacks : sequence of Stack
    legend : sequence of (name, colour)
    label : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    left, right = _margins([(s.label, s.text) for s in stacks])
    room = max(_WIDTH - left - right, 80)
    longest = max(sum(length for length, _, _ in s.parts) for s in stacks) or 1.0
    height = _ROW * len(stacks) + 8 + _LEGEND
    parts = [open_svg(left + room + right, height, label)]
    for row, stack in enumerate(stacks):
        top, x = row * _ROW + 8, float(left)
        parts.append(svg_text(left - 10, top + 14, stack.label, "end"))
        for length, color, hint in stack.parts:
            width = room * length / longest
            if width > 0:
                parts.append(
                    f'<rect x="{x:.2f}" y="{top}" width="{width:.2f}" height="18" '
                    f'fill="{color}"><title>{escape(hint)}</title></rect>'
                )
            x += width
        parts.append(svg_text(x + 8, top + 14, stack.text, weight=600))
    parts.append(_axis(left, height - _LEGEND))
    x = 4.0
    for name, color in legend:
        y = height - 8
        parts.append(f'<rect x="{x}" y="{y - 10}" width="11" height="11" rx="2" fill="{color}"/>')
        parts.append(svg_text(x + 16, y, name, size=12, faint=True))
        x += 34 + 6.4 * len(name)
    return "".join([*parts, "</svg>"])


def distribution_chart(strips: Sequence[Strip], *, label: str) -> str:
    """Draw each distribution up to its 95th percentile: the darker, the nearer to the median.

    Parameters
    ----------
    strips : sequence of Strip
    label : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    left, right = _margins([(s.label, s.text) for s in strips])
    room = max(_WIDTH - left - right, 80)
    shown = {id(s): s.quantiles[: round(0.95 * (len(s.quantiles) - 1)) + 1] for s in strips}
    longest = max(quantiles[-1] for quantiles in shown.values()) or 1.0
    height = _ROW * len(strips) + 8
    parts = [open_svg(left + room + right, height, label)]
    for row, strip in enumerate(strips):
        top, steps = row * _ROW + 8, len(strip.quantiles) - 1
        parts.append(f"<g><title>{escape(strip.hint or strip.text)}</title>")
        parts.append(svg_text(left - 10, top + 14, strip.label, "end"))
        at = [left + room * seconds / longest for seconds in shown[id(strip)]]
        for i, (start, end) in enumerate(pairwise(at)):
            share = (i + 0.5) / steps
            opacity = 0.18 + 0.77 * (1 - abs(2 * share - 1))
            parts.append(
                f'<rect x="{start:.2f}" y="{top}" width="{max(end - start, 0.05):.2f}" '
                f'height="18" fill="{strip.color}" fill-opacity="{opacity:.2f}"/>'
            )
        middle = left + room * strip.quantiles[steps // 2] / longest
        parts.append(
            f'<path d="M{middle:.1f} {top - 3}v24" stroke="currentColor" stroke-width="2"/>'
        )
        parts.append(svg_text(at[-1] + 8, top + 14, strip.text, weight=600))
        parts.append("</g>")
    return "".join([*parts, _axis(left, height), "</svg>"])


def _margins(rows: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """About 7 units a character at 13 px, 9 where it is bold."""
    left = 16 + 7 * max(len(label) for label, _ in rows)
    return left, 16 + 9 * max(len(text) for _, text in rows)


def _axis(left: float, bottom: float) -> str:
    return f'<path d="M{left} 2V{bottom - 2}" stroke="currentColor" stroke-opacity=".35"/>'


__all__ = ["Stack", "Strip", "distribution_chart", "stacked_chart"]
