"""Device profiles: what a network must fit into, and what is known of speed and power."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..base.error import Error
from ..base.schema import check_keys, did_you_mean
from ..base.yaml_file import parse_yaml, read_yaml
from .budget import Budget
from .units import (
    parse_bytes,
    parse_quantity,
    parse_share,
)

FORMATS = ("fp32", "bf16", "int8")
# Layers that differ in instructions a product: over all channels, 1 x 1, one channel each, dense.
KINDS = ("conv", "pointwise", "depthwise", "dense")
# What platform.machine() says, by the instruction set of a profile.
_MACHINES = {
    "x86-64": ("x86_64", "amd64"),
    "aarch64": ("aarch64", "arm64"),
    "armv6-m": (),
    "armv7e-m": (),
    "armv8-m": (),
    "xtensa": (),
}
_KEYS = (
    "schema",
    "name",
    "description",
    "isa",
    "features",
    "cores",
    "clock",
    "flash",
    "ram",
    "bandwidth",
    "formats",
    "weights_in_ram",
    "constraints",
    "latency",
    "power",
    "provenance",
)
_REQUIRED = (
    "schema",
    "name",
    "isa",
    "cores",
    "clock",
    "ram",
    "bandwidth",
    "formats",
    "latency",
    "power",
)


class TargetError(Error, ValueError):
    """A target is unknown or its profile does not follow the schema; the message names the key."""


@dataclass(frozen=True)
class LatencyModel:
    """Documented speed of one core.

    Attributes
    ----------
    macs_per_cycle : mapping of str to float
        Multiply-accumulates of one core in one cycle, by format: ``"fp32"``,
        ``"bf16"``, ``"int8"``.
    efficiency : float
        Share of it that whole networks reach, in (0, 1].
    overhead_per_layer_s : float
        Seconds of each layer that do not depend on its size.
    source : str
        Where the figures come from and which are assumptions.
    core : str
        Such as ``"cortex-m4"``, for generated C on an emulator; empty where there is none.
    cycles_per_instruction : float or None
        Of generated C on that core: turns counted instructions into time.
    instructions_per_mac : mapping of str to float
        Of generated C on that core, in int8, by kind of layer (`KINDS`); with
        `cycles_per_instruction` they go before `macs_per_cycle`.
    """

    macs_per_cycle: Mapping[str, float]
    efficiency: float
    overhead_per_layer_s: float
    source: str
    core: str = ""
    cycles_per_instruction: float | None = None
    instructions_per_mac: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __reduce__(self) -> tuple[Any, ...]:
        values = vars(self).copy()
        tables = (values.pop("macs_per_cycle"), values.pop("instructions_per_mac"))
        return _rebuild_latency, (*map(dict, tables), *values.values())


@dataclass(frozen=True)
class PowerModel:
    """Documented power while a network runs.

    Attributes
    ----------
    active_w : float
        Watts.
    scope : str
        ``"core"`` where each busy core adds ``active_w``, ``"device"`` where the whole device
        draws it.
    source : str
        Where the figure comes from and what it leaves out.
    """

    active_w: float
    scope: str
    source: str


@dataclass(frozen=True)
class Target:
    """A device profile.

    Attributes
    ----------
    name, description : str
        What it is called and what it is.
    isa : str
        ``"x86-64"``, ``"aarch64"``, ``"armv6-m"``, ``"armv7e-m"``, ``"armv8-m"`` or ``"xtensa"``.
    features : tuple of str
        Extensions of the instruction set that matter here.
    cores : int
        Number of cores.
    clock_hz : float
        Clock in hertz.
    flash_bytes : int or None
        Storage for code and weights; None where it does not limit.
    ram_bytes : int
        Memory.
    bandwidth : mapping of str to float
        Bytes per second from ``"ram"``, ``"flash"`` and ``"cache"``.
    formats : tuple of str
        Formats that it computes in: ``"fp32"``, ``"bf16"``, ``"int8"``.
    weights_in_ram : bool
        True where weights are loaded to memory, False where they stay in flash.
    constraints : Budget
        What any network for this target must keep; the user's budget goes before it, line by
        line.
    latency_model : LatencyModel
        For devices that tersor does not run on.
    power_model : PowerModel
        For energy, which is always modelled.
    provenance : str
        Where the profile comes from.

    Examples
    --------
    >>> Target.load("mcu").flash_bytes
    2097152
    """

    name: str
    description: str
    isa: str
    features: tuple[str, ...]
    cores: int
    clock_hz: float
    flash_bytes: int | None
    ram_bytes: int
    bandwidth: Mapping[str, float]
    formats: tuple[str, ...]
    weights_in_ram: bool
    constraints: Budget
    latency_model: LatencyModel
    power_model: PowerModel
    provenance: str

    @classmethod
    def load(cls, target: str | Path | Target) -> Target:
        """Return a target by name, from a YAML file, or as it is.

        Parameters
        ----------
        target : str, Path or Target
            The name of a profile in the package (:func:`target_names`), or the path of a
            ``.yaml`` file.

        Returns
        -------
        Target

        Raises
        ------
        TargetError
            If the name is unknown (the closest one is named) or the profile breaks the schema.
        FileNotFoundError
            If the path of a YAML file does not exist.
        """
        if isinstance(target, Target):
            return target
        if not isinstance(target, (str, Path)):
            raise TypeError(
                f"target must be a name, a path or a Target, got {type(target).__name__}"
            )
        if isinstance(target, Path) or target.endswith((".yaml", ".yml")):
            return cls._read(read_yaml(target, what="target file"), f"target file {target}")
        if target not in target_names():
            hint = did_you_mean(target, target_names())
            known = ", ".join(target_names())
            raise TargetError(
                f"unknown target {target!r}{hint}; known: {known}, or the path of a .yaml profile"
            )
        text = (resources.files(__package__) / "profiles" / f"{target}.yaml").read_text("utf-8")
        return cls._read(parse_yaml(text, what=f"target {target}"), f"target {target}")

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Target:
        """Read a profile from plain data.

        Parameters
        ----------
        document : mapping
            Keys as in the YAML files of the package.

        Returns
        -------
        Target

        Raises
        ------
        TargetError
            If a key is unknown, missing or has a wrong value; the message names it.
        """
        return cls._read(document, "target")

    @classmethod
    def _read(cls, document: object, what: str) -> Target:
        try:
            return _read_target(document, what)
        except (TypeError, ValueError) as error:
            message = str(error)
            raise TargetError(
                message if message.startswith(what) else f"{what}: {message}"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        # The mappings are read-only views, which pickle refuses.
        return _rebuild_target, ({**vars(self), "bandwidth": dict(self.bandwidth)},)

    @property
    def is_microcontroller(self) -> bool:
        """Whether networks run there as generated C."""
        return not _MACHINES[self.isa]

    def runs_here(self) -> bool:
        """Return whether this machine has the target's instruction set.

        Returns
        -------
        bool
            True where latency can be measured here.
        """
        return platform.machine().lower() in _MACHINES[self.isa]


def target_names() -> tuple[str, ...]:
    """Return the names of the profiles in the package.

    Returns
    -------
    tuple of str
        Sorted.

    Examples
    --------
    >>> target_names()[:3]
    ('cloud', 'edge', 'esp32s3')
    """
    folder = resources.files(__package__) / "profiles"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml")))


def _rebuild_target(values: dict[str, Any]) -> Target:
    return Target(**{**values, "bandwidth": MappingProxyType(values["bandwidth"])})


def _read_target(document: object, what: str) -> Target:
    fields = check_keys(document, allowed=_KEYS, required=_REQUIRED, what=what)
    if fields["schema"] != 1:
        raise ValueError(f"schema must be 1, got {fields['schema']!r}")
    flash, ram = fields.get("flash"), fields["ram"]
    return Target(
        name=_text(fields["name"], "name"),
        description=_text(fields.get("description", ""), "description"),
        isa=_choice(fields["isa"], tuple(_MACHINES), "isa"),
        features=_texts(fields.get("features", []), "features"),
        cores=int(_number(fields["cores"], "cores", least=1, whole=True)),
        clock_hz=_positive(parse_quantity(fields["clock"], "Hz", what="clock"), "clock"),
        flash_bytes=None
        if flash is None
        else int(_positive(parse_bytes(flash, what="flash"), "flash")),
        ram_bytes=int(_positive(parse_bytes(ram, what="ram"), "ram")),
        bandwidth=_read_bandwidth(fields["bandwidth"]),
        formats=tuple(
            _choice(item, FORMATS, "formats") for item in _texts(fields["formats"], "formats")
        ),
        weights_in_ram=_flag(fields.get("weights_in_ram", True), "weights_in_ram"),
        constraints=Budget.parse(fields.get("constraints") or {}),
        latency_model=_read_latency(fields["latency"]),
        power_model=_read_power(fields["power"]),
        provenance=_text(fields.get("provenance", ""), "provenance"),
    )


def _read_bandwidth(document: object) -> Mapping[str, float]:
    places = ("ram", "flash", "cache")
    fields = check_keys(document, allowed=places, required=("ram",), what="bandwidth")
    rates = {
        place: _positive(
            parse_quantity(rate, "B/s", what=f"bandwidth.{place}"), f"bandwidth.{place}"
        )
        for place, rate in fields.items()
    }
    return MappingProxyType(rates)


def _rebuild_latency(
    rates: dict[str, float], instructions: dict[str, float], *rest: Any
) -> LatencyModel:
    values: list[Any] = [MappingProxyType(rates), *rest, MappingProxyType(instructions)]
    return LatencyModel(*values)


def _read_latency(document: object) -> LatencyModel:
    optional = (
        "efficiency",
        "overhead_per_layer",
        "core",
        "cycles_per_instruction",
        "instructions_per_mac",
    )
    allowed = ("macs_per_cycle", *optional, "source")
    required = ("macs_per_cycle", "source")
    fields = check_keys(document, allowed=allowed, required=required, what="latency")
    where = "latency.macs_per_cycle"
    rates = check_keys(fields["macs_per_cycle"], allowed=FORMATS, what=where)
    cycles = _cycles(fields.get("cycles_per_instruction"))
    what = "latency.instructions_per_mac"
    counts = check_keys(fields.get("instructions_per_mac", {}), allowed=KINDS, what=what)
    if counts and cycles is None:
        raise ValueError(f"{what} needs latency.cycles_per_instruction, got none")
    efficiency = parse_share(fields.get("efficiency", 1.0), what="latency.efficiency")
    overhead = parse_quantity(
        fields.get("overhead_per_layer", 0.0), "s", what="latency.overhead_per_layer"
    )
    return LatencyModel(
        macs_per_cycle=MappingProxyType(
            {
                name: _positive(_number(rate, f"{where}.{name}"), f"{where}.{name}")
                for name, rate in rates.items()
            }
        ),
        efficiency=_positive(efficiency, "latency.efficiency"),
        overhead_per_layer_s=overhead,
        source=_text(fields["source"], "latency.source"),
        core=_text(fields.get("core", ""), "latency.core"),
        cycles_per_instruction=cycles,
        instructions_per_mac=MappingProxyType(
            {k: _positive(_number(n, f"{what}.{k}"), f"{what}.{k}") for k, n in counts.items()}
        ),
    )


def _cycles(value: object) -> float | None:
    key = "latency.cycles_per_instruction"
    return None if value is None else _positive(_number(value, key), key)


def _read_power(document: object) -> PowerModel:
    allowed = ("active", "scope", "source")
    fields = check_keys(document, allowed=allowed, required=("active", "source"), what="power")
    return PowerModel(
        active_w=_positive(
            parse_quantity(fields["active"], "W", what="power.active"), "power.active"
        ),
        scope=_choice(fields.get("scope", "device"), ("core", "device"), "power.scope"),
        source=_text(fields["source"], "power.source"),
    )


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{key} must be text, got {value!r}")
    return value.strip()


def _texts(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{key} must be a list of text, got {value!r}")
    return tuple(_text(item, key) for item in value)


def _choice(value: object, options: tuple[str, ...], key: str) -> str:
    if value not in options:
        hint = did_you_mean(str(value), options)
        raise ValueError(f"{key} must be one of {', '.join(options)}, got {value!r}{hint}")
    return str(value)


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be true or false, got {value!r}")
    return value


def _number(value: object, key: str, *, least: float = 0.0, whole: bool = False) -> float:
    good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not good or not isinstance(value, (int, float)) or not least <= value < float("inf"):
        kind = "whole number" if whole else "number"
        raise ValueError(f"{key} must be a {kind} of at least {least:g}, got {value!r}")
    return value


def _positive(value: float, key: str) -> float:
    if not value > 0:
        raise ValueError(f"{key} must be above 0, got {value!r}")
    return value


__all__ = [
    "FORMATS",
    "KINDS",
    "LatencyModel",
    "PowerModel",
    "Target",
    "TargetError",
    "target_names",
]
