"""A histogram before and after, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .svg import open_svg, svg_text

_WIDTH, _HEIGHT, _FOOT = 320, 132, 22


def histogram_svg(
    before: Sequence[int],
    after: Sequence[tuple[str, str, Sequence[int]]],
    *,
    most: float,
    label: str,
) -> str:
    """Draw counts over bins from ``-most`` to ``most``; heights are logarithmic.

    Parameters
    ----------
    before : sequence of int
        Drawn as a gray area.
    after : sequence of (name, colour, counts)
        Each drawn as a line, on the same bins.
    most : float
    label : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.
    """  # fmt: skip
    top = max([1, *before, *(count for _, _, counts in after for count in counts)])
    base = _HEIGHT - _FOOT

    def outline(counts: Sequence[int]) -> str:
        step = _WIDTH / len(counts)
        heights = [base - (base - 6) * math.log1p(c) / math.log1p(top) for c in counts]
        return "".join(f"V{y:.1f}h{step:.2f}" for y in heights)

    parts = [open_svg(_WIDTH, _HEIGHT, label)]
    parts.append(
        f'<path d="M0 {base}{outline(before)}V{base}Z" fill="currentColor" fill-opacity=".16"/>'
    )
    for name, color, counts in after:
        parts.append(
            f'<path d="M0 {base}{outline(counts)}V{base}" fill="none" stroke="{color}" '
            f'stroke-width="1.6" stroke-opacity=".9"><title>{escape(name)}</title></path>'
        )
    parts.append(f'<path d="M0 {base}H{_WIDTH}" stroke="currentColor" stroke-opacity=".35"/>')
    for x, value, anchor in (
        (2, -most, "start"),
        (_WIDTH / 2, 0.0, "middle"),
        (_WIDTH - 2, most, "end"),
    ):
        parts.append(svg_text(x, _HEIGHT - 6, f"{value:.3g}", anchor, size=11, faint=True))
    return "".join([*parts, "</svg>"])


__all__ = ["histogram_svg"]
