"""Names that come from users and files, shown by rich as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def plain_text(text: str, style: str = "") -> Text:
    """Return text in which rich interprets nothing: no ``[red]`` markup, no ``:smile:``.

    Parameters
    ----------
    text : str
    style : str, optional
        A name of rich's theme, such as ``"table.title"``.

    Returns
    -------
    rich.text.Text

    Examples
    --------
    >>> plain_text("[red]a").plain
    '[red]a'
    """
    from rich.text import Text

    return Text(text, style=style)


__all__ = ["plain_text"]
