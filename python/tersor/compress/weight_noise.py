"""What rounding did to the weights alone: all that can be said without samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from .agreement import signal_to_noise_db

_WORST = 3


def weight_agreement(graph: Any, compressed: Any) -> dict[str, Any]:
    """Describe the layers whose weights lost most.

    Parameters
    ----------
    graph, compressed : Graph
        The float network, and the same with its weights in other formats.

    Returns
    -------
    dict
        As `Agreement.to_dict`, with ``"measured_on": "weights"``; empty where no weight changed.
    """
    ratios = weight_ratios(graph, compressed)
    if not ratios:
        return {}
    worst = sorted(ratios.items(), key=lambda item: item[1])[:_WORST]
    return {
        "measured_on": "weights",
        "sqnr_db": None,
        "expected_loss": None,
        "worst_layers": {name: round(db, 2) for name, db in worst},
    }


def weight_ratios(graph: Any, compressed: Any) -> dict[str, float]:
    """Return the signal-to-noise ratio of every layer's weight that changed.

    Parameters
    ----------
    graph, compressed : Graph
        With the same nodes.

    Returns
    -------
    dict of str to float
        Decibels, by node.
    """
    plain = compressed.clone()
    plain.decode_weights()
    plain.widen_constants()
    before, after = graph.edges, plain.edges
    nodes = {node.name: node for node in plain.nodes}
    found = {}
    for node in graph.nodes:
        twin = nodes.get(node.name)
        if twin is None or len(node.inputs) < 2 or min(node.inputs[1], twin.inputs[1]) < 0:
            continue
        old, new = before[node.inputs[1]], after[twin.inputs[1]]
        if not (old.is_constant and new.is_constant) or old.shape != new.shape:
            continue
        if np.isfinite(old.constant).all() and not np.array_equal(old.constant, new.constant):
            found[node.name] = signal_to_noise_db(old.constant, new.constant)
    return found


__all__ = ["weight_agreement", "weight_ratios"]
