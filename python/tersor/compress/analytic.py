"""Biases of rounded layers repaired without samples, by what BatchNorm told of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quantization import dequantize
from ..reconstruction import analytic_bias_correction
from .repair import why_nearest

_MOST_BITS = 7  # rounding to 8 bits moves means by less than they are known


def correct_means(exact: Any, rounded: Any, means: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Give back to biases the mean that rounding the weights took away, in place.

    Parameters
    ----------
    exact, rounded : Graph
        The float network, and the same with weights as codes, which is changed.
    means : mapping of str to ndarray
        Mean input per channel of conv and dense nodes (``Graph.input_means``).

    Returns
    -------
    list of str
        Layers that were corrected.
    """
    done = []
    before, after = exact.edges, rounded.edges
    uses = [i for node in rounded.nodes for i in node.inputs]
    for old, node in zip(exact.nodes, rounded.nodes, strict=True):
        mean = means.get(node.name)
        if mean is None or len(node.inputs) < 3 or node.inputs[2] < 0:
            continue
        weight, bias = after[node.inputs[1]], after[node.inputs[2]]
        q = weight.qparams
        if q is None or q.bits > _MOST_BITS or why_nearest(exact, old.name):
            continue
        if uses.count(node.inputs[2]) > 1 or bias.dtype != "float32":
            continue
        w = np.asarray(before[old.inputs[1]].constant)
        groups = node.attributes.get("groups", 1)
        reads = np.asarray(mean)
        if groups != 1:  # the channels that each output reads
            reads = np.repeat(reads.reshape(groups, -1), len(w) // groups, axis=0)
        if reads.shape not in (w.shape[1:2], w.shape[:2]):
            continue
        shift = analytic_bias_correction(w, dequantize(weight.constant, q), reads)
        rounded.set_constant(node.inputs[2], (np.asarray(bias.constant) + shift).astype(np.float32))
        done.append(node.name)
    return done


__all__ = ["correct_means"]
