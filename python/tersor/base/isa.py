"""Instruction sets. Native half: ``cpp/tersor/base/isa.h``."""

from __future__ import annotations

from .. import _core


def supported_isas() -> list[str]:
    """Instruction-set levels that this CPU can run.

    Returns
    -------
    list of str
        Lowest first, from ``baseline``, ``avx2``, ``avxvnni``, ``avx512``, ``avx512vnni``,
        ``neon``, ``neondot``.

    Examples
    --------
    >>> import tersor
    >>> tersor.supported_isas()[0]
    'baseline'
    """
    return list(_core.base.supported_isas())


def active_isa() -> str:
    """Level whose kernels run now: the highest, unless `TERSOR_ISA` or `force_isa` names another.

    Returns
    -------
    str
        One of `supported_isas`.

    Raises
    ------
    ValueError
        If the environment variable `TERSOR_ISA` names a level that this CPU cannot run.

    Examples
    --------
    >>> import tersor
    >>> tersor.active_isa() in tersor.supported_isas()
    True
    """
    return str(_core.base.active_isa())


def force_isa(name: str) -> None:
    """Make the kernels of one level active, for tests and benchmarks.

    Sessions that exist keep what they have chosen.

    Parameters
    ----------
    name : str
        One of `supported_isas`, or ``""`` for the default.

    Raises
    ------
    ValueError
        If this CPU cannot run that level.
    TypeError
        If `name` is no text.

    Examples
    --------
    >>> import tersor
    >>> tersor.force_isa("baseline")
    >>> tersor.active_isa()
    'baseline'
    >>> tersor.force_isa("")
    """
    if not isinstance(name, str):
        raise TypeError(f"force_isa: name must be text, got {name!r}")
    _core.base.force_isa(name)


__all__ = ["active_isa", "force_isa", "supported_isas"]
