"""Layers by pattern. Native half: ``cpp/tersor/graph/name_pattern.h``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import _core


def select_layers(
    names: Iterable[str], *, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()
) -> list[str]:
    """Return the names that some pattern includes and none excludes.

    Parameters
    ----------
    names : iterable of str
    include, exclude : sequence of str
        ``*`` stands for any characters, ``?`` for one; a pattern must match all of a name.

    Returns
    -------
    list of str
        In the order of `names`.

    Raises
    ------
    ValueError
        If a pattern matches no name at all.

    Examples
    --------
    >>> select_layers(["conv1", "layer1.conv1", "fc"], exclude=["conv1", "fc"])
    ['layer1.conv1']
    """
    known = list(names)
    matches = _core.graph.matches_pattern
    for what, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise TypeError(
                f"select_layers: {what} must be a sequence of patterns, got {patterns!r}"
            )
        for pattern in patterns:
            if not any(matches(pattern, name) for name in known):
                raise ValueError(
                    f"select_layers: {what} must match layers, got {pattern!r}, which matches none "
                    f"of {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
                )
    return [
        name
        for name in known
        if any(matches(p, name) for p in include) and not any(matches(p, name) for p in exclude)
    ]


__all__ = ["select_layers"]
