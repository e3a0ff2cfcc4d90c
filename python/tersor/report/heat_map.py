"""A heat map as SVG text and as a rich table. No script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..base.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table

_CELL_WIDTH, _ROW = 104, 26
# From harmless to ruinous; text on them is black, at least 4.5:1.
_COLORS = ("#63be7b", "#a8d27f", "#ffeb84", "#fcbf7b", "#f8816c")


def heat_color(value: float, good: float, bad: float) -> str:
    """Return the colour of a value.

    Parameters
    ----------
    value : float
    good, bad : float
        Values of the first and the last colour, in either order.

    Returns
    -------
    str
        As ``#rrggbb``.

    Examples
    --------
    >>> heat_color(40, good=40, bad=10)
    '#63be7b'
    """
    share = (value - good) / (bad - good)
    last = len(_COLORS) - 1
    if share != share:
        return _COLORS[last]
    return _COLORS[round(min(1.0, max(0.0, share)) * last)]


def heat_map_svg(
    rows: Sequence[tuple[str, Sequence[tuple[str, str, str]]]],
    columns: Sequence[str],
    *,
    label: str,
) -> str:
    """Draw a heat map.

    Parameters
    ----------
    rows : sequence of (name, cells)
        A cell is its text, its colour and what hovering shows.
    columns : sequence of str
    label : str
        What a screen reader says.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    left = 16 + 7 * max((len(name) for name, _ in rows), default=0)
    width, height = left + _CELL_WIDTH * len(columns) + 8, _ROW * (len(rows) + 1) + 8
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" '
        f'font-size="13" fill="currentColor" style="max-width:{width}px">'
    ]
    for i, name in enumerate(columns):
        x = left + (i + 0.5) * _CELL_WIDTH
        parts.append(f'<text x="{x}" y="{_ROW - 8}" text-anchor="middle">{escape(name)}</text>')
    for j, (name, cells) in enumerate(rows):
        y = (j + 1) * _ROW
        parts.append(f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">{escape(name)}</text>')
        for i, (text, color, hint) in enumerate(cells):
            x = left + i * _CELL_WIDTH
            parts.append(
                f"<g><title>{escape(hint)}</title>"
                f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL_WIDTH - 2}" height="{_ROW - 2}" '
                f'rx="3" fill="{color}"/><text x="{x + _CELL_WIDTH / 2}" y="{y + 18}" '
                f'text-anchor="middle" fill="#000">{escape(text)}</text></g>'
            )
    parts.append("</svg>")
    return "".join(parts)


def heat_map_table(
    rows: Sequence[tuple[str, Sequence[tuple[str, str, str]]]],
    columns: Sequence[str],
    *,
    title: str,
    caption: str = "",
) -> Table:
    """The same as a table for terminals and notebooks.

    Parameters
    ----------
    rows, columns
        As for `heat_map_svg`.
    title, caption : str

    Returns
    -------
    rich.table.Table
    """
    from rich.text import Text

    from ..base.printed_table import PrintedTable

    table = PrintedTable(
        title=plain_text(title, "table.title"),
        caption=plain_text(caption, "table.caption") if caption else None,
        caption_justify="left",
    )
    table.add_column("layer")
    for name in columns:
        table.add_column(plain_text(name), justify="right")
    for name, cells in rows:
        texts = [Text(f" {text} ", style=f"black on {color}") for text, color, _ in cells]
        table.add_row(plain_text(name), *texts)
    return table


__all__ = ["heat_color", "heat_map_svg", "heat_map_table"]
