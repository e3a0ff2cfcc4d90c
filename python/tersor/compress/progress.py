"""Progress of long operations: a bar for people, a function for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .calibrate import Progress


@contextmanager
def reporter(progress: bool | Progress) -> Iterator[Progress]:
    """Give the function that stages report to: nothing, a rich progress bar, or the caller's own.

    Parameters
    ----------
    progress : bool or callable
        True shows a bar on the standard error stream while the context is open.

    Yields
    ------
    callable
        Takes ``(stage, done, total or None)``.
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield report


__all__ = ["reporter"]
