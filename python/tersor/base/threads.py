"""Threads of the native kernels. Native half: ``cpp/tersor/base/threads.h``."""

from __future__ import annotations

from .. import _core
from .schema import check_integer


def set_threads(n: int) -> None:
    """Set how many threads the kernels may use; results do not depend on it.

    Parameters
    ----------
    n : int
        Number of threads in [1, 1024], or 0 for the default: the environment variable
        `TERSOR_THREADS`, or the physical cores of the affinity mask.

    Raises
    ------
    ValueError
        If `n` is out of range.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> import tersor
    >>> tersor.set_threads(1)
    >>> tersor.get_threads()
    1
    >>> tersor.set_threads(0)
    """
    _core.base.set_threads(check_integer(n, what="set_threads: n"))


def get_threads() -> int:
    """Return the number of threads that the kernels may use.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import tersor
    >>> tersor.get_threads() >= 1
    True
    """
    return int(_core.base.threads())


__all__ = ["get_threads", "set_threads"]
