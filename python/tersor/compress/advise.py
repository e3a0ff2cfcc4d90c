"""``tersor.advise``: what would pay for a network on a device, and what would not and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import _core
from ..report.inputs import random_inputs
from ..report.model import graph_of
from ..runtime import Session
from ..runtime.sparse_pays import BREAK_EVEN_VERSION
from ..targets.target import Target
from .advice_result import Advice, Finding, LayerAdvice
from .advise_network import channel_findings, int8_findings, kernel_findings, nodes_of
from .advise_sparsity import advise_layers, sparsity_findings


def advise(model: Any, target: str | Path | Target | None = None) -> Advice:
    """Say what would pay for a network, and what would not and why, in a sentence per layer group.

    Without data nothing is said about accuracy; :func:`tersor.sensitivity` measures that.

    Parameters
    ----------
    model : Graph or CompressedModel
        Not changed.
    target : str, Path or Target, optional
        A device; this machine by default. What is only modelled for it is labelled so.

    Returns
    -------
    Advice
        Findings, and for every layer with weights the sparsity from which on the session runs it
        faster from its nonzero weights (the break-even table that sessions choose by). Prints as
        tables.

    Raises
    ------
    TypeError
        If `model` is no network.
    TargetError
        If the target is unknown.

    Examples
    --------
    >>> import tersor
    >>> from tersor.zoo import load_digits_network
    >>> advice = tersor.advise(load_digits_network())
    >>> sorted({finding.topic for finding in advice.findings})
    ['channels', 'int8', 'kernels', 'sparsity']
    >>> layer = advice.layers[1]
    >>> layer.kind, layer.sparsity < layer.pays_from < 1
    ("3x3 convolutions in Winograd's form", True)
    """
    graph = graph_of(model)
    if not isinstance(graph, _core.graph.Graph):
        got = type(model).__name__
        raise TypeError(f"advise: model must be a tersor.Graph or a compressed model, got {got}")
    device = None if target is None else Target.load(target)
    plain: Any = graph.clone()
    plain.canonicalize()
    session = Session(plain)
    profile = session.profile(*random_inputs(plain, 1), repeats=3)
    kernels = {name: layer.kernel for layer in profile for name in nodes_of(layer.node)}
    layers = advise_layers(plain, kernels, session.micro_batch, device)
    findings = [
        *sparsity_findings(layers, session.micro_batch, device),
        *int8_findings(plain, layers, device),
        *channel_findings(plain),
        *kernel_findings(profile),
    ]
    return Advice(
        target="this machine" if device is None else device.name,
        findings=tuple(findings),
        layers=tuple(layers),
        micro_batch=session.micro_batch,
        break_even_version=BREAK_EVEN_VERSION,
    )


__all__ = ["Advice", "Finding", "LayerAdvice", "advise"]
