"""Quantities with units: bytes, seconds, joules, hertz, watts and shares, from text and back.

Byte units follow the memory makers (JEDEC): KB, MB and GB are powers of 1024, as KiB, MiB and GiB
are. Only ``kB`` is decimal (1000 bytes). ``kb`` and ``Mb`` mean bits to some and bytes to others:
refused.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping

_BYTES = {
    "": 1.0,
    "B": 1.0,
    "byte": 1.0,
    "bytes": 1.0,
    "kB": 1e3,
    "KB": 2.0**10,
    "KiB": 2.0**10,
    "MB": 2.0**20,
    "MiB": 2.0**20,
    "GB": 2.0**30,
    "GiB": 2.0**30,
}
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
}
_JOULES = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "μJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_WATTS = {"uW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3}
_SHARES = {"": 1.0, "%": 1e-2, "pp": 1e-2}
_BANDWIDTHS = {
    f"{unit}/s": factor for unit, factor in _BYTES.items() if unit not in ("", "byte", "bytes")
}

# Base unit -> its multiples, and an example for messages.
_QUANTITIES = {
    "s": (_SECONDS, "2.5 ms"),
    "J": (_JOULES, "5 mJ"),
    "Hz": (_HERTZ, "2.4 GHz"),
    "W": (_WATTS, "160 mW"),
    "B/s": (_BANDWIDTHS, "8 GB/s"),
}

_QUANTITY = re.compile(r"\s*([+-]?(?:\d[\d_]*)?\.?\d*(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def _parse(value: object, units: Mapping[str, float], what: str, example: str) -> float:
    """Return ``value`` in the base unit; a bare number counts as the base unit already."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{what} must be a number or text such as {example!r}, got {value!r}")
    if isinstance(value, (int, float)):
        number = float(value)
    else:
        match = _QUANTITY.fullmatch(value)
        try:
            number = float(match[1].replace("_", "")) if match else math.nan
        except ValueError:
            number = math.nan
        if not match or math.isnan(number):
            raise ValueError(
                f"{what} must be a number with a unit such as {example!r}, got {value!r}"
            )
        unit = match[2]
        if unit not in units and not (unit == "" and float(number) == 0):
            known = ", ".join(name for name in units if name)
            close = difflib.get_close_matches(
                unit, [name for name in units if name], n=1, cutoff=0.3
            )
            hint = f"; did you mean {close[0]!r}?" if close and unit else ""
            problem = f"unknown unit {unit!r}" if unit else "no unit"
            raise ValueError(f"{what}: {problem} in {value!r} (known: {known}){hint}")
        number *= units.get(unit, 1.0)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{what} must be finite and not negative, got {value!r}")
    return number


def parse_bytes(value: float | str, *, what: str = "size") -> int:
    """Read a number of bytes.

    Parameters
    ----------
    value : int, float or str
        A number of bytes, or text such as ``"128 KB"``: KB = KiB = 1024, MB = MiB = 1024**2,
        GB = GiB = 1024**3, kB = 1000 bytes. Units are case-sensitive.
    what : str
        Name of the quantity, for the message.

    Returns
    -------
    int
        Bytes, rounded half to even, at least 0.

    Raises
    ------
    ValueError
        If the text is not a finite, non-negative number with a known unit.
    TypeError
        If the value is neither a number nor text.

    Examples
    --------
    >>> parse_bytes("128 KB"), parse_bytes("128kB"), parse_bytes("1.5 MiB"), parse_bytes(4096)
    (131072, 128000, 1572864, 4096)
    """
    return round(_parse(value, _BYTES, what, "128 KB"))


def parse_quantity(value: float | str, unit: str, *, what: str) -> float:
    """Read a time, an energy, a frequency, a power or a bandwidth.

    Parameters
    ----------
    value : float or str
        A number in `unit`, or text with one of its multiples.
    unit : {"s", "J", "Hz", "W", "B/s"}
        Seconds (ns, us, ms, s, min, h), joules (nJ, uJ, mJ, J), hertz (Hz, kHz, MHz, GHz), watts
        (uW, mW, W, kW), or bytes per second (B/s, kB/s, KB/s, MB/s, GB/s, also with KiB).
    what : str
        Name of the quantity, for the message.

    Returns
    -------
    float
        In `unit`, at least 0.

    Raises
    ------
    ValueError, TypeError
        As from :func:`parse_bytes`.

    Examples
    --------
    >>> parse_quantity("2.5 ms", "s", what="latency"), parse_quantity(0.2, "s", what="latency")
    (0.0025, 0.2)
    >>> parse_quantity("2 KB/s", "B/s", what="bandwidth")
    2048.0
    """
    units, example = _QUANTITIES[unit]
    return _parse(value, units, what, example)


def parse_share(value: float | str, *, what: str = "accuracy_drop") -> float:
    """Read a share.

    Parameters
    ----------
    value : float or str
        ``0.01``, ``"0.01"``, ``"1 %"`` and ``"1 pp"`` (percentage point) are the same.
    what : str
        Name of the quantity, for the message.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the share is outside [0, 1] or the text is no number.

    Examples
    --------
    >>> parse_share("1 %"), parse_share("0.01"), parse_share("1pp")
    (0.01, 0.01, 0.01)
    """
    share = _parse(value, _SHARES, what, "1 %")
    if share > 1:
        raise ValueError(
            f"{what} must be a share in [0, 1] (write percentages with %), got {value!r}"
        )
    return share


def _format(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Three significant digits in the largest unit that keeps the number at 1 or more."""
    # 0.9995 rounds up to 1.00 of this unit, so it belongs here and not to "1000" of the next.
    factor, unit = next((step for step in steps if abs(value) >= step[0] * 0.9995), steps[-1])
    rounded = float(f"{value / factor:.3g}")
    digits = 2 - math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{min(max(digits, 0), 3)}f} {unit}"


def format_bytes(value: float) -> str:
    """Write bytes for people: B, KB (1024), MB (1024**2), GB.

    Parameters
    ----------
    value : float
        Bytes.

    Returns
    -------
    str
        Three significant digits and a unit.

    Examples
    --------
    >>> format_bytes(131072), format_bytes(284000), format_bytes(17)
    ('128 KB', '277 KB', '17 B')
    """
    if abs(value) < 1023.5:
        return f"{value:.0f} B"
    return _format(value, ((2.0**30, "GB"), (2.0**20, "MB"), (2.0**10, "KB")))


def format_seconds(value: float) -> str:
    """Write a time for people.

    Parameters
    ----------
    value : float
        Seconds.

    Returns
    -------
    str
        Three significant digits and a unit.

    Examples
    --------
    >>> format_seconds(0.00026), format_seconds(1.5)
    ('260 us', '1.50 s')
    """
    return _format(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")))


def format_joules(value: float) -> str:
    """Write an energy for people.

    Parameters
    ----------
    value : float
        Joules.

    Returns
    -------
    str
        Three significant digits and a unit.

    Examples
    --------
    >>> format_joules(0.0087)
    '8.70 mJ'
    """
    return _format(value, ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ")))


def format_share(value: float, digits: int = 2) -> str:
    """Write a share as a percentage.

    Parameters
    ----------
    value : float
        Share, 1 for all.
    digits : int
        After the point.

    Returns
    -------
    str

    Examples
    --------
    >>> format_share(0.8769)
    '87.69 %'
    """
    return f"{value * 100:.{digits}f} %"


__all__ = [
    "format_bytes",
    "format_joules",
    "format_seconds",
    "format_share",
    "parse_bytes",
    "parse_quantity",
    "parse_share",
]
