"""How long a battery lasts under a duty cycle: sleep, sense, infer, send, update (modelled)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..targets.units import format_bytes, parse_bytes, parse_quantity, parse_share

if TYPE_CHECKING:
    from ..base.printed_table import PrintedTable

_DAY_S = 86_400.0
_YEAR_DAYS = 365.25


@dataclass(frozen=True, init=False)
class Battery:
    """A battery.

    Parameters
    ----------
    capacity_mah : float
        Milliampere hours of the data sheet, > 0.
    volts : float
        Nominal, > 0.
    usable : float or str
        Share that can be drawn before the voltage is too low, in (0, 1].
    self_discharge : float or str
        Share of the capacity lost in a year, such as ``"1 %"`` (lithium coin cells).

    Examples
    --------
    >>> round(Battery(220, 3.0).energy_j)  # CR2032
    2020
    """

    capacity_mah: float
    volts: float
    usable: float
    self_discharge: float

    def __init__(
        self,
        capacity_mah: float,
        volts: float,
        *,
        usable: float | str = 0.85,
        self_discharge: float | str = 0.01,
    ) -> None:
        for name, value in (("capacity_mah", capacity_mah), ("volts", volts)):
            if not 0 < value < math.inf:
                raise ValueError(f"Battery: {name} must be above 0, got {value!r}")
        shares = {
            "usable": parse_share(usable, what="Battery: usable"),
            "self_discharge": parse_share(self_discharge, what="Battery: self_discharge"),
        }
        if shares["usable"] == 0:
            raise ValueError("Battery: usable must be above 0, got 0")
        parts = {"capacity_mah": float(capacity_mah), "volts": float(volts), **shares}
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @property
    def energy_j(self) -> float:
        """Joules that can be drawn."""
        return self.capacity_mah * 3.6 * self.volts * self.usable

    @property
    def leak_w(self) -> float:
        """Watts that self-discharge takes at first."""
        full = self.capacity_mah * 3.6 * self.volts
        return full * self.self_discharge / (_YEAR_DAYS * _DAY_S)


@dataclass(frozen=True)
class DutyCycle:
    """Where a battery's energy goes: what :func:`duty_cycle` returns. Every figure is modelled.

    Attributes
    ----------
    days : float
        Until the battery is empty.
    average_w : float
        Of everything, self-discharge included.
    energy_per_day_j : mapping of str to float
        ``sleep``, ``sense``, ``inference``, ``messages``, ``updates``, ``self-discharge``.
    update_bytes : int
        Of one update of the network.
    awake : float
        Share of the time in which the processor works.
    label : str
        Always ``"modelled"``.
    """

    days: float
    average_w: float
    energy_per_day_j: Mapping[str, float]
    update_bytes: int
    awake: float
    label: str = "modelled"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain data.

        Returns
        -------
        dict
        """
        return {**vars(self), "energy_per_day_j": dict(self.energy_per_day_j)}

    def table(self) -> PrintedTable:
        """Return the energy of a day by what takes it.

        Returns
        -------
        PrintedTable
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(
            title=f"modelled: {self.days:.0f} days, {1e3 * self.average_w:.3g} mW on average, "
            f"updates of {format_bytes(self.update_bytes)}",
            title_justify="left",
        )
        table.add_column("")
        table.add_column("J a day", justify="right")
        table.add_column("share", justify="right")
        total = sum(self.energy_per_day_j.values())
        for name, energy in self.energy_per_day_j.items():
            table.add_row(name, f"{energy:.3f}", f"{100 * energy / total:.1f} %" if total else "")
        return table


def duty_cycle(
    battery: Battery,
    *,
    every: float | str,
    inference: float | str,
    inference_time: float | str = 0.0,
    sleep: float | str,
    sense: float | str = 0.0,
    message_bytes: float | str = 0,
    message_share: float | str = 1.0,
    radio_wake: float | str = 0.0,
    radio_per_byte: float | str = 0.0,
    update_bytes: float | str = 0,
    update_every_days: float = math.inf,
) -> DutyCycle:
    """Model the life of a battery-powered sensor that runs a network.

    The device sleeps, wakes every so often, senses, runs the network, sends a message of some of
    the results, and receives a new network now and then. Energies add up; while it is awake the
    power of sleep is not counted again.

    Parameters
    ----------
    battery : Battery
    every : float or str
        Between two inferences, such as ``"10 s"``.
    inference : float or str
        Energy of one, such as ``"8 mJ"``: measured, or of ``tersor.targets.model_energy``.
    inference_time : float or str
        Of one, at most `every`.
    sleep : float or str
        Power while asleep, such as ``"10 uW"``.
    sense : float or str
        Energy of one sample of the sensor.
    message_bytes : int or str
        Of one message.
    message_share : float or str
        Share of the inferences that are worth one: a network on the device sends events, not data.
    radio_wake, radio_per_byte : float or str
        Energy of a transmission whatever its size, and of each byte (sent or received).
    update_bytes : int or str
        Of the network, ``compressed.nbytes``.
    update_every_days : float
        Days between updates, > 0; infinite for none.

    Returns
    -------
    DutyCycle

    Raises
    ------
    ValueError
        If a quantity is out of range, or the inference takes longer than `every`.

    Examples
    --------
    >>> cell = Battery(220, 3.0)
    >>> life = duty_cycle(cell, every="10 min", inference="3.7 mJ", inference_time="115 ms",
    ...                   sleep="3 uW", message_bytes=16, message_share="5 %",
    ...                   radio_wake="20 mJ", radio_per_byte="50 uJ",
    ...                   update_bytes="96 KB", update_every_days=90)
    >>> life.days > 300, life.average_w < 1e-3
    (True, True)
    """
    period = parse_quantity(every, "s", what="duty_cycle: every")
    busy = parse_quantity(inference_time, "s", what="duty_cycle: inference_time")
    if period <= 0:
        raise ValueError(f"duty_cycle: every must be above 0, got {every!r}")
    if busy > period:
        raise ValueError(
            f"duty_cycle: inference_time must be at most every ({period:g} s), got {busy:g} s"
        )
    if not update_every_days > 0:
        raise ValueError(
            f"duty_cycle: update_every_days must be above 0, got {update_every_days!r}"
        )
    share = parse_share(message_share, what="duty_cycle: message_share")
    wake = parse_quantity(radio_wake, "J", what="duty_cycle: radio_wake")
    per_byte = parse_quantity(radio_per_byte, "J", what="duty_cycle: radio_per_byte")
    message = parse_bytes(message_bytes, what="duty_cycle: message_bytes")
    update = parse_bytes(update_bytes, what="duty_cycle: update_bytes")
    runs = _DAY_S / period
    awake = busy / period
    energy = {
        "sleep": parse_quantity(sleep, "W", what="duty_cycle: sleep") * _DAY_S * (1 - awake),
        "sense": parse_quantity(sense, "J", what="duty_cycle: sense") * runs,
        "inference": parse_quantity(inference, "J", what="duty_cycle: inference") * runs,
        "messages": _radio(wake, per_byte, message) * share * runs,
        "updates": _radio(wake, per_byte, update) / update_every_days,
        "self-discharge": battery.leak_w * _DAY_S,
    }
    total = math.fsum(energy.values())
    days = battery.energy_j / total if total else math.inf
    return DutyCycle(days, total / _DAY_S, MappingProxyType(energy), update, awake)


def _radio(wake: float, per_byte: float, size: int) -> float:
    return wake + per_byte * size if size else 0.0


__all__ = ["Battery", "DutyCycle", "duty_cycle"]
