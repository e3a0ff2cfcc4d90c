"""Checks of plain mappings, with messages that say what was meant."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Guess what a misspelled name should have been.

    Parameters
    ----------
    name : str
        What was written.
    known : collection of str
        What can be written.

    Returns
    -------
    str
        ``" (did you mean 'x'?)"`` for the closest known name, empty where none is close.

    Examples
    --------
    >>> did_you_mean("egde", ["cloud", "edge", "mcu"])
    " (did you mean 'edge'?)"
    """
    lowered = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return f" (did you mean {lowered[close[0]]!r}?)" if close else ""


def check_keys(
    document: object, *, allowed: Collection[str], required: Collection[str] = (), what: str
) -> dict[str, Any]:
    """Check that a mapping has only known keys and all required ones.

    Parameters
    ----------
    document : object
        What should be a mapping with text keys.
    allowed, required : collection of str
        Known keys, and those that must be there.
    what : str
        What the mapping is, for messages.

    Returns
    -------
    dict
        The mapping as a new dict.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If a key is unknown (the closest known key is named) or a required one is missing.

    Examples
    --------
    >>> check_keys({"size": 1}, allowed=("size", "ram"), what="budget")
    {'size': 1}
    """
    if not isinstance(document, Mapping):
        got = type(document).__name__
        raise TypeError(f"{what} must be a mapping with keys {', '.join(allowed)}, got {got}")
    for key in document:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise ValueError(f"{what}: unknown key {key!r}{hint}; known: {', '.join(allowed)}")
    for key in required:
        if key not in document:
            raise ValueError(f"{what}: missing key {key!r}")
    return dict(document)


def check_integer(value: object, *, least: int | None = None, what: str) -> int:
    """Check that a value is an integer, of Python or NumPy, and not too small.

    Parameters
    ----------
    value : object
    least : int, optional
        The smallest that is allowed.
    what : str
        What the value is, for messages.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If it is no integer; True and False are none.
    ValueError
        If it is below `least`.

    Examples
    --------
    >>> check_integer(2, least=1, what="threads")
    2
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} must be an integer, got {value!r}")
    if least is not None and int(value) < least:
        raise ValueError(f"{what} must be at least {least}, got {value}")
    return int(value)


def check_path(value: object, *, what: str) -> str:
    """Check that a value is a path.

    Parameters
    ----------
    value : object
        Text or path-like.
    what : str
        What the value is, for messages.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If it is none.

    Examples
    --------
    >>> check_path("a.tersor", what="load: path")
    'a.tersor'
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{what} must be text or path-like, got {type(value).__name__}")
    return os.fsdecode(value)


__all__ = ["check_integer", "check_keys", "check_path", "did_you_mean"]
