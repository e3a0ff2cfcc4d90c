"""Latency and energy on a device that tersor does not run on: a model, and labelled so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .target import FORMATS, Target


@dataclass(frozen=True)
class LayerCost:
    """What one layer asks of a device, for one sample.

    Attributes
    ----------
    name : str
        The layer's name.
    macs : int
        Multiply-accumulates.
    weight_bytes, activation_bytes : int
        Bytes of weights read, and of activations read and written.
    format : str
        ``"fp32"``, ``"bf16"`` or ``"int8"``.
    """

    name: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    format: str = "fp32"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(
                f"LayerCost: format must be one of {', '.join(FORMATS)}, got {self.format!r}"
            )
        if min(self.macs, self.weight_bytes, self.activation_bytes) < 0:
            raise ValueError(f"LayerCost: counts must not be negative, got {self!r}")


@dataclass(frozen=True)
class Estimate:
    """A modelled figure.

    Attributes
    ----------
    value : float
        Seconds or joules.
    formula : str
        How it was computed.
    source : str
        Where the constants come from.
    label : str
        Always ``"modelled"``.
    """

    value: float
    formula: str
    source: str
    label: str = "modelled"


def model_latency(target: Target, layers: Iterable[LayerCost], *, threads: int = 1) -> Estimate:
    """Model the time of one inference at batch size 1.

    Per layer: the longer of computing (MACs / (MACs per cycle x efficiency x clock x cores in use))
    and of moving its weights and activations, plus a fixed overhead; layers follow one another. A
    roofline (Williams et al. 2009) per layer.

    Parameters
    ----------
    target : Target
        The device.
    layers : iterable of LayerCost
        The network, layer by layer. A format that the device has no figure for counts as fp32.
    threads : int
        Cores in use, at least 1; no more than the target has are counted.

    Returns
    -------
    Estimate
        Seconds.

    Raises
    ------
    ValueError
        If ``threads`` is below 1, or the profile has no figure for a format and none for fp32.

    References
    ----------
    S. Williams, A. Waterman, D. Patterson: Roofline. Communications of the ACM 52(4), 2009.

    Examples
    --------
    >>> resnet8 = [LayerCost("all", 12_500_000, 78_000, 300_000, "int8")]
    >>> round(model_latency(Target.load("mcu"), resnet8).value * 1000)
    69
    """
    if threads < 1:
        raise ValueError(f"model_latency: threads must be at least 1, got {threads}")
    model = target.latency_model
    cores = min(threads, target.cores)
    near = target.bandwidth.get("cache", target.bandwidth["ram"])
    far = (
        target.bandwidth["ram"]
        if target.weights_in_ram
        else target.bandwidth.get("flash", target.bandwidth["ram"])
    )
    seconds = 0.0
    for layer in layers:
        rate = model.macs_per_cycle.get(layer.format, model.macs_per_cycle.get("fp32"))
        if rate is None and layer.macs:
            raise ValueError(
                f"target {target.name}: latency.macs_per_cycle has no figure for {layer.format}"
            )
        # Without multiply-accumulates, as in conversions at the ends, no rate is asked for.
        compute = layer.macs / ((rate or 1.0) * model.efficiency * target.clock_hz * cores)
        move = layer.weight_bytes / far + layer.activation_bytes / near
        seconds += max(compute, move) + model.overhead_per_layer_s
    rates = ", ".join(f"{rate:g} {name}" for name, rate in model.macs_per_cycle.items())
    clock = f"{target.clock_hz / 1e6:g} MHz"
    formula = (
        f"sum over layers of max(MACs / ({rates} MACs/cycle x {model.efficiency:g} x {clock} x "
        f"{cores} core(s)), weight bytes / {far / 1e9:.3g} GB/s + activation bytes / "
        f"{near / 1e9:.3g} GB/s) + {model.overhead_per_layer_s * 1e6:g} us"
    )
    return Estimate(seconds, formula, model.source)


def model_energy(target: Target, latency_s: float, *, threads: int = 1) -> Estimate:
    """Model the energy of one inference as active power times its latency.

    Parameters
    ----------
    target : Target
        The device.
    latency_s : float
        Seconds, measured or modelled, not negative.
    threads : int
        Cores in use, at least 1.

    Returns
    -------
    Estimate
        Joules.

    Raises
    ------
    ValueError
        If the latency is negative or not finite, or ``threads`` is below 1.

    Examples
    --------
    >>> round(model_energy(Target.load("mcu"), 0.0543).value * 1000, 1)
    8.7
    """
    if not 0 <= latency_s < float("inf"):
        raise ValueError(
            f"model_energy: latency_s must be finite and not negative, got {latency_s}"
        )
    if threads < 1:
        raise ValueError(f"model_energy: threads must be at least 1, got {threads}")
    power = target.power_model
    cores = min(threads, target.cores) if power.scope == "core" else 1
    formula = (
        f"{power.active_w:g} W"
        + (f" x {cores} core(s)" if power.scope == "core" else "")
        + " x latency"
    )
    return Estimate(power.active_w * cores * latency_s, formula, power.source)


__all__ = ["Estimate", "LayerCost", "model_energy", "model_latency"]
