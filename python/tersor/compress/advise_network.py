"""What int8, fewer channels and other kernels would do for a network, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from .. import _core
from ..graph.channels import find_channels, remove_channels
from ..report.layers import layer_costs
from ..runtime import Profile
from ..targets.cost_model import model_latency
from ..targets.target import Target
from ..targets.units import format_bytes, format_seconds
from .advice_result import Finding, LayerAdvice
from .channel_criteria import rank_units
from .channels import choose_units


def int8_findings(
    graph: Any, layers: Sequence[LayerAdvice], target: Target | None
) -> list[Finding]:
    """Say what the recipe int8 would reach.

    Parameters
    ----------
    graph : Graph
        Canonical.
    layers : sequence of LayerAdvice
    target : Target or None

    Returns
    -------
    list of Finding
    """
    if not layers:
        return []
    if any(edge.qparams is not None for edge in graph.edges):
        return [Finding("int8", False, (), "the network holds codes already", "graph")]
    placement = _core.graph.place_quantizers(graph)
    quantized = {
        n.name for n, is_int8 in zip(graph.nodes, placement.quantized, strict=True) if is_int8
    }
    covered = [layer for layer in layers if layer.name in quantized]
    macs = sum(layer.macs for layer in layers)
    share = sum(layer.macs for layer in covered) / max(1, macs)
    text = f"{len(covered)} of {len(layers)} layers with weights, {share:.0%} of the MACs"
    if target is not None and "int8" not in target.formats:
        text += f", could be int8, but {target.name} does not compute in int8"
        return [Finding("int8", False, (), text, "graph")]
    before = layer_costs(graph)
    after = [_as_int8(cost) if cost.name in quantized else cost for cost in before]
    sizes = [format_bytes(sum(cost.weight_bytes for cost in costs)) for costs in (after, before)]
    text += f", can be int8: weights of {sizes[0]} instead of {sizes[1]}"
    found = [Finding("int8", bool(covered), (), text, "graph")]
    if target is not None and covered:
        found.append(_modelled(target, before, after))
    stay: dict[str, list[str]] = {}
    for node, reason in zip(graph.nodes, placement.reasons, strict=True):
        if reason:
            stay.setdefault(reason, []).append(node.name)
    return found + [
        Finding("int8", False, tuple(names), f"stays in float: {reason}", "graph")
        for reason, names in stay.items()
    ]


def _as_int8(cost: Any) -> Any:
    return replace(
        cost,
        format="int8",
        weight_bytes=cost.weight_bytes // 4,
        activation_bytes=cost.activation_bytes // 4,
    )


def _modelled(target: Target, before: Any, after: Any) -> Finding:
    slow, fast = (model_latency(target, costs).value for costs in (before, after))
    times = " instead of ".join(format_seconds(value) for value in (fast, slow))
    text = f"int8 takes {times} for a sample on one core of {target.name}"
    return Finding("int8", fast < slow, (), text, "modelled")


def channel_findings(graph: Any) -> list[Finding]:
    """Say how many channels can go, and which stay.

    Parameters
    ----------
    graph : Graph
        Canonical.

    Returns
    -------
    list of Finding
    """
    if any(edge.qparams is not None for edge in graph.edges):
        text = "channels are removed from the float network, before it is quantized"
        return [Finding("channels", False, (), text, "graph")]
    channels = find_channels(graph)
    found = []
    if channels.units:
        keep = choose_units(
            graph, channels, rank_units(graph, channels, "l1"), ("keep", 0.5), 1, threads=1
        )
        half = remove_channels(graph, channels, keep)
        sets = len({unit.group for unit in channels.units})
        text = (
            f"{len(channels.units)} channels (tied ones counted once) in {sets} sets can go; "
            f"without half of each set {half.macs / max(1, graph.macs):.0%} of the MACs and "
            f"{half.parameters / max(1, graph.parameters):.0%} of the parameters are left, which "
            "any kernel profits from"
        )
        makers = _makers(graph, channels)
        found.append(Finding("channels", True, makers, text, "graph"))
    stay: dict[str, list[str]] = {}
    for sentence in channels.fixed:
        name, _, reason = sentence.partition(": ")
        stay.setdefault(reason or sentence, []).append(name)
    return found + [
        Finding("channels", False, tuple(names), f"all channels stay: {reason}", "graph")
        for reason, names in stay.items()
    ]


def _makers(graph: Any, channels: Any) -> tuple[str, ...]:
    """Layers with weights that have channels which can go."""
    indices = {index for unit in channels.units for index, _ in unit.made}
    nodes = graph.nodes
    return tuple(nodes[i].name for i in sorted(indices) if len(nodes[i].inputs) > 1)


def kernel_findings(profile: Profile) -> list[Finding]:
    """Name the layers that no kernel runs fast.

    Parameters
    ----------
    profile : Profile
        Of one sample.

    Returns
    -------
    list of Finding
    """
    slow = [layer for layer in profile if layer.kernel.startswith("reference")]
    if not slow:
        return [
            Finding(
                "kernels", True, (), "every layer has a fast kernel on this machine", "measured"
            )
        ]
    share = sum(layer.time_us for layer in slow) / max(profile.time_us, 1e-9)
    ops = ", ".join(sorted({layer.op for layer in slow}))
    text = f"only plain reference kernels run them ({ops}): {share:.0%} of the time on this machine"
    names = tuple(name for layer in slow for name in nodes_of(layer.node))
    return [Finding("kernels", False, names, text, "measured")]


def nodes_of(step: str) -> Iterable[str]:
    """Return the nodes of a step of a profile.

    Parameters
    ----------
    step : str
        Its `node`.

    Returns
    -------
    iterable of str
        One, or several of a fused group.
    """
    return step.split(" + ")


__all__ = ["channel_findings", "int8_findings", "kernel_findings", "nodes_of"]
