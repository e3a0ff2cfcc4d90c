"""Tables of rich that print as tables: only imported where one is made, since it imports rich."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table


class PrintedTable(Table):
    """A table whose ``str`` is its plain text, and which notebooks show as such too.

    Parameters
    ----------
    text_width : int, default 120
        Columns of the text; a console takes its own.
    title, caption, title_justify, caption_justify
        As of rich's Table.
    """

    def __init__(self, *, text_width: int = 120, **options: Any) -> None:
        super().__init__(**options)
        self._text_width = text_width

    def __str__(self) -> str:
        stream = io.StringIO()
        Console(file=stream, width=self._text_width, color_system=None).print(self)
        return stream.getvalue()

    def _repr_html_(self) -> str:
        console = Console(file=io.StringIO(), width=self._text_width, record=True)
        console.print(self)
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


__all__ = ["PrintedTable"]
