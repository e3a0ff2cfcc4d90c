"""Histograms of a network's weights, layer by layer, on bins that variants share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..quantization import dequantize

_LAYERS = ("conv", "conv_transpose", "dense", "matmul")
# Odd, so that zero is in the middle of a bin.
BINS = 49
# Layers that one screen shows; those with most weights.
_SHOWN = 6


@dataclass(frozen=True)
class WeightHistogram:
    """How often the weights of a layer have which value.

    Attributes
    ----------
    layer : str
    most : float
        Bins go from ``-most`` to ``most``; what lies beyond is in the outer ones.
    counts : tuple of int
    weights : int
        How many there are.
    zeros : float
        Share of them that is 0, in [0, 1].
    distinct : int
        Different values.
    """

    layer: str
    most: float
    counts: tuple[int, ...]
    weights: int
    zeros: float
    distinct: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return {**vars(self), "counts": list(self.counts)}


def weight_histograms(
    graph: Any, like: Mapping[str, WeightHistogram] | None = None
) -> dict[str, WeightHistogram]:
    """Count the weights of the largest layers.

    Parameters
    ----------
    graph : Graph
        Codes count as the values that they stand for.
    like : mapping of str to WeightHistogram, optional
        The same layers and bins, as from the network that this one is compared with; layers that
        are gone are left out.

    Returns
    -------
    dict of str to WeightHistogram
        In the order of execution.

    Examples
    --------
    >>> from tersor.zoo import load_digits_network
    >>> found = weight_histograms(load_digits_network())
    >>> found["block1.conv1"].weights, sum(found["block1.conv1"].counts)
    (2304, 2304)
    """
    edges = graph.edges
    layers = {
        node.name: edges[node.inputs[1]]
        for node in graph.nodes
        if node.op in _LAYERS and edges[node.inputs[1]].is_constant
    }
    if like is None:
        sizes = {name: int(np.prod(edge.shape)) for name, edge in layers.items()}
        largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
        chosen = [name for name in layers if name in largest]
    else:
        chosen = [name for name in layers if name in like]
    return {
        name: _histogram(name, layers[name], None if like is None else like[name].most)
        for name in chosen
    }


def _histogram(name: str, edge: Any, most: float | None) -> WeightHistogram:
    values = np.asarray(edge.constant)
    if edge.qparams is not None:
        values = dequantize(values, edge.qparams)
    flat = np.asarray(values, np.float64).ravel()
    most = float(np.abs(flat).max(initial=0.0)) or 1.0 if most is None else most
    counts, _ = np.histogram(np.clip(flat, -most, most), bins=BINS, range=(-most, most))
    return WeightHistogram(
        layer=name,
        most=most,
        counts=tuple(int(count) for count in counts),
        weights=int(flat.size),
        zeros=float((flat == 0).mean()) if flat.size else 0.0,
        distinct=int(np.unique(flat).size),
    )


__all__ = ["BINS", "WeightHistogram", "weight_histograms"]
