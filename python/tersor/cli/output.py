"""What commands print: JSON or tables."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_json(document: Any) -> None:
    """Print plain data as JSON on standard output.

    Parameters
    ----------
    document : object
        Numbers must be finite.
    """
    print(json.dumps(document, indent=2, allow_nan=False))


def print_rich(*items: Any) -> None:
    """Print tables and text on standard output, as wide as the terminal, or 140 columns in a file.

    Parameters
    ----------
    *items : object
        What rich can print.
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for item in items:
        console.print(item)


__all__ = ["print_json", "print_rich"]
