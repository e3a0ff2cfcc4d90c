"""Which part of a data set that has parts."""

from __future__ import annotations

from collections.abc import Collection

from ..base.schema import did_you_mean
from .error import DataError


def choose_split(
    splits: Collection[str], split: str | None, default: str | None, *, name: str
) -> str | None:
    """Return the split to read, None where the set has none.

    Parameters
    ----------
    splits : collection of str
        What the set has; empty for a set without parts.
    split : str or None
        What the user asked for.
    default : str or None
        What counts where the user asked for nothing and the set has parts.
    name : str
        What messages call the set.

    Returns
    -------
    str or None

    Raises
    ------
    DataError
        If the split is needed and not given, or unknown.

    Examples
    --------
    >>> choose_split(("test", "train"), None, "train", name="digits")
    'train'
    """
    known = ", ".join(sorted(splits))
    if not splits:
        if split is not None:
            raise DataError(f"{name} has no splits, but split={split!r} was given")
        return None
    if split is None and default in splits:
        return default
    if split is None:
        raise DataError(f"{name} has the splits {known}: give split=")
    if split not in splits:
        hint = did_you_mean(split, splits)
        raise DataError(f"{name}: unknown split {split!r}{hint}; known: {known}")
    return split


__all__ = ["choose_split"]
