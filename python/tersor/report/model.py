"""What reports ask of a network, be it a plain graph or a compressed model."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from .. import artifact
from ..data.preprocess import Preprocess
from ..quantization import dequantize
from ..runtime import Session

_LAYERS = ("conv", "conv_transpose", "dense", "matmul")


def graph_of(model: Any) -> Any:
    """Return the graph of a compressed model, or the graph itself.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    Graph
    """
    return getattr(model, "graph", model)


def file_bytes(model: Any) -> int:
    """Return the bytes of the file that a network is saved as.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    int
    """
    size = getattr(model, "nbytes", None)
    return int(size) if size is not None else len(artifact.encode(model))


def recipe_name(model: Any) -> str:
    """Return the name of a compressed model's recipe, ``"fp32"`` for a graph.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    str
    """
    recipe = getattr(model, "recipe", None)
    return "fp32" if recipe is None else str(getattr(recipe, "name", recipe))


def compress_seconds(model: Any) -> float | None:
    """Return what compression took, as the model noted; None where it did not.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    float or None
        Seconds.
    """
    provenance = getattr(model, "provenance", None)
    noted = provenance.get("seconds") if isinstance(provenance, dict) else None
    if isinstance(noted, bool) or not isinstance(noted, (int, float)):
        return None
    return float(noted) if 0 <= noted < math.inf else None


def parameters_of(graph: Any) -> int:
    """Return the number of values in all constants of a graph.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    int
    """
    return sum(math.prod(edge.shape) for edge in graph.edges if edge.is_constant)


def zeros_of(edge: Any) -> tuple[int, int]:
    """Return how many values of a constant are 0, and how many there are.

    Parameters
    ----------
    edge : Edge
        Of codes those count that stand for 0.

    Returns
    -------
    (int, int)
    """
    values = np.asarray(edge.constant)
    if edge.qparams is not None:
        values = dequantize(values, edge.qparams)
    return int(values.size - np.count_nonzero(values)), int(values.size)


def sparsity_of(graph: Any) -> float:
    """Return the share of the weights of convolutions and matrix products that are 0.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    float
        In [0, 1]; 0 where there are none.
    """
    edges = graph.edges
    indices = {node.inputs[1] for node in graph.nodes if node.op in _LAYERS}
    counts = [zeros_of(edges[i]) for i in indices if edges[i].is_constant]
    return sum(zeros for zeros, _ in counts) / max(1, sum(size for _, size in counts))


def precision_of(model: Any) -> Literal["fp32", "bf16"]:
    """Return what the float layers of a network compute in.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    "fp32" or "bf16"
    """
    return "bf16" if getattr(model, "precision", "fp32") == "bf16" else "fp32"


def open_session(model: Any, threads: int = 1) -> Session:
    """Return a session in the precision that the network's recipe asks for.

    Parameters
    ----------
    model : Graph or CompressedModel
    threads : int

    Returns
    -------
    Session

    Raises
    ------
    TypeError
        If `model` is no network.
    """
    return Session(model, threads, precision=precision_of(model))


def model_preprocess(model: Any) -> Preprocess | None:
    """Return the preprocessing that a network carries, None where it has none.

    Parameters
    ----------
    model : Graph or CompressedModel

    Returns
    -------
    Preprocess or None
    """
    stored = getattr(model, "preprocess", None) or getattr(graph_of(model), "preprocess", None)
    return Preprocess.parse(stored or None)


__all__ = [
    "compress_seconds",
    "file_bytes",
    "graph_of",
    "model_preprocess",
    "open_session",
    "parameters_of",
    "precision_of",
    "recipe_name",
    "sparsity_of",
    "zeros_of",
]
