"""Latency and energy on a device that tersor does not run on: a model, and labelled so."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .target import FORMATS, KINDS, LatencyModel, Target


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
    kind : str
        ``"conv"``, ``"pointwise"``, ``"depthwise"``, ``"dense"``, or empty where it is not known.
    """

    name: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    format: str = "fp32"
    kind: str = ""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(
                f"LayerCost: format must be one of {', '.join(FORMATS)}, got {self.format!r}"
            )
        if self.kind and self.kind not in KINDS:
            raise ValueError(
                f"LayerCost: kind must be one of {', '.join(KINDS)} or empty, got {self.kind!r}"
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
    roofline (Williams et al. 2009) per layer. Where the profile knows the instructions that a
    product of this kind of layer takes in int8, computing is MACs x these x cycles per instruction.

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
        rate = _macs_per_cycle(model, layer)
        if rate is None and layer.macs:
            raise ValueError(
                f"target {target.name}: latency.macs_per_cycle has no figure for {layer.format}"
            )
        # Without multiply-accumulates, as in conversions at the ends, no rate is asked for.
        compute = layer.macs / ((rate or 1.0) * target.clock_hz * cores)
        move = layer.weight_bytes / far + layer.activation_bytes / near
        seconds += max(compute, move) + model.overhead_per_layer_s
    rates = ", ".join(f"{rate:g} {name}" for name, rate in model.macs_per_cycle.items())
    if model.cycles_per_instruction and model.instructions_per_mac:
        kinds = ", ".join(f"{n:g} {kind}" for kind, n in model.instructions_per_mac.items())
        rates += f"; int8: 1 / ({kinds} instructions x {model.cycles_per_instruction:g} cycles)"
    clock = f"{target.clock_hz / 1e6:g} MHz"
    formula = (
        f"sum over layers of max(MACs / ({rates} MACs/cycle x {model.efficiency:g} x {clock} x "
        f"{cores} core(s)), weight bytes / {far / 1e9:.3g} GB/s + activation bytes / "
        f"{near / 1e9:.3g} GB/s) + {model.overhead_per_layer_s * 1e6:g} us"
    )
    return Estimate(seconds, formula, model.source)


def _macs_per_cycle(model: LatencyModel, layer: LayerCost) -> float | None:
    """Of whole networks, where the profile says how far they stay below the rate."""
    count = model.instructions_per_mac.get(layer.kind) if layer.format == "int8" else None
    if count is not None and model.cycles_per_instruction is not None:
        return 1 / (count * model.cycles_per_instruction)
    rate = model.macs_per_cycle.get(layer.format, model.macs_per_cycle.get("fp32"))
    return None if rate is None else rate * model.efficiency


def layer_kind(graph: Any, node: Any) -> str:
    """Return the kind of a node for :class:`LayerCost`; empty for those without products.

    Parameters
    ----------
    graph : Graph
    node : Node

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> w = graph.add_constant("w", np.eye(4, dtype=np.float32))
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "dense")])
    >>> layer_kind(graph, graph.nodes[0])
    'dense'
    """
    if node.op in ("dense", "matmul"):
        return "dense"
    if node.op not in ("conv", "conv_transpose"):
        return ""
    shape, groups = graph.edges[node.inputs[1]].shape, int(node.attributes.get("groups", 1))
    if groups > 1 and groups == graph.edges[node.inputs[0]].shape[1]:
        return "depthwise"
    return "pointwise" if math.prod(shape[2:]) == 1 else "conv"


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


def has_figures(target: Target, layers: Iterable[LayerCost]) -> bool:
    """Return whether `model_latency` knows how fast a device is in the formats of all layers.

    Parameters
    ----------
    target : Target
    layers : iterable of LayerCost

    Returns
    -------
    bool
    """
    model = target.latency_model
    return all(not layer.macs or _macs_per_cycle(model, layer) is not None for layer in layers)


__all__ = ["Estimate", "LayerCost", "has_figures", "layer_kind", "model_energy", "model_latency"]
