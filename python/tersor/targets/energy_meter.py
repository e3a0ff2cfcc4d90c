"""Energy counters of this machine: RAPL of the processor, NVML of a graphics card."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_POWERCAP = Path("/sys/class/powercap")
# RAPL counters move about once a millisecond: a hundred of their steps are 1 % of resolution.
_SECONDS = 0.1


@dataclass(frozen=True)
class Energy:
    """What a call took.

    Attributes
    ----------
    joules : float
        Of one call.
    seconds : float
        Of one call.
    calls : int
        That were counted together.
    source : str
        Which counter, and what it includes.
    """

    joules: float
    seconds: float
    calls: int
    source: str


@dataclass
class _Rapl:
    """One package's counter in microjoules, which wraps around."""

    file: Path
    limit: int
    last: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        self.last = int(self.file.read_text())

    def read(self) -> float:
        now = int(self.file.read_text())
        self.total += (now - self.last) % (self.limit + 1) if now < self.last else now - self.last
        self.last = now
        return self.total * 1e-6


@dataclass
class EnergyMeter:
    """Reads counters; made by :func:`open_energy_meter`.

    Attributes
    ----------
    source : str
        Which counters, and what they include.
    """

    source: str
    _counters: list[Any] = field(default_factory=list)

    def read(self) -> float:
        """Return the joules since some moment in the past.

        Returns
        -------
        float
        """
        return float(sum(counter.read() for counter in self._counters))

    def measure(
        self,
        run: Callable[[], Any],
        *,
        seconds: float = _SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Energy:
        """Call a function for some time and divide what the counters moved.

        Parameters
        ----------
        run : callable
            Without arguments.
        seconds : float
            At least; above 0.
        clock : callable
            Returns seconds; monotonic.

        Returns
        -------
        Energy
        """
        if not 0 < seconds < float("inf"):
            raise ValueError(f"measure: seconds must be finite and above 0, got {seconds}")
        start, before, calls, spent = clock(), self.read(), 0, 0.0
        while spent < seconds:
            run()
            calls += 1
            spent = clock() - start
        joules = self.read() - before
        return Energy(joules / calls, spent / calls, calls, self.source)


def open_energy_meter(device: str = "cpu", *, folder: Path = _POWERCAP) -> EnergyMeter | None:
    """Open this machine's energy counters.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        "cpu": RAPL of all packages through Linux's powercap files, which most systems let root
        alone read. "gpu": the first card's total energy through NVML.
    folder : Path
        Where the powercap files lie.

    Returns
    -------
    EnergyMeter or None
        None where there is no counter or it may not be read.

    Raises
    ------
    ValueError
        If the device is unknown.

    Examples
    --------
    >>> meter = open_energy_meter()
    >>> meter is None or meter.measure(lambda: sum(range(1000))).joules >= 0
    True
    """
    if device not in ("cpu", "gpu"):
        raise ValueError(f"open_energy_meter: device must be cpu or gpu, got {device!r}")
    return _open_rapl(folder) if device == "cpu" else _open_nvml()


def _open_rapl(folder: Path) -> EnergyMeter | None:
    counters = []
    try:
        # Packages are intel-rapl:0, :1 (on AMD too); their parts, intel-rapl:0:0, are in them.
        for place in sorted(folder.glob("intel-rapl:*")):
            if place.name.count(":") == 1 and (place / "name").read_text().startswith("package"):
                limit = int((place / "max_energy_range_uj").read_text())
                counters.append(_Rapl(place / "energy_uj", limit))
    except (OSError, ValueError):
        return None
    if not counters:
        return None
    return EnergyMeter(
        f"RAPL, {len(counters)} processor package(s): includes idle power and whatever else runs, "
        "not memory or the board",
        list(counters),
    )


class _Nvml:
    """Total energy of the first card, in millijoules since the driver was loaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._device = ctypes.c_void_p()
        self._check(self._library.nvmlInit_v2())
        self._check(self._library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device)))
        self.read()

    def read(self) -> float:
        energy = ctypes.c_ulonglong()
        get = self._library.nvmlDeviceGetTotalEnergyConsumption
        self._check(get(self._device, ctypes.byref(energy)))
        return energy.value * 1e-3

    @staticmethod
    def _check(code: int) -> None:
        if code != 0:
            raise OSError(f"NVML: error {code}")


def _open_nvml() -> EnergyMeter | None:
    try:
        counter = _Nvml()
    except (OSError, AttributeError):
        return None
    return EnergyMeter("NVML, the whole first graphics card: includes its idle power", [counter])


__all__ = ["Energy", "EnergyMeter", "open_energy_meter"]
