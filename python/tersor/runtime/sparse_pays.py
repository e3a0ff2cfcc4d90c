"""Where a sparse layer is faster than dense. Native half: ``cpp/tersor/runtime/sparse_pays.h``."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import Any

from .. import _core

BREAK_EVEN_VERSION: int = _core.runtime.BREAK_EVEN_VERSION

# Arithmetics that the session has sparse kernels for.
SPARSE_DTYPES = ("float32", "int8")


@dataclass(frozen=True)
class ConvShape:
    """A convolution as kernels see it, channels last; a dense layer has 1 x 1 everything.

    Attributes
    ----------
    batch : int
        Samples that are computed at once; of a dense layer, 1.
    input, output : (int, int, int)
        Height, width, channels. Rows of a dense layer are the width.
    kernel, strides, dilations, pads : (int, int)
        Vertical and horizontal; pads at the top and on the left.
    """

    batch: int
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)


def sparse_pays(shape: ConvShape, density: float, *, dtype: str = "float32") -> bool:
    """Say whether the session runs a layer from its nonzero weights.

    Parameters
    ----------
    shape : ConvShape
    density : float
        Share of the weights that are not 0, in [0, 1]; of int8 layers, share of the blocks of 1x4
        (four input channels) that are not all 0.
    dtype : {"float32", "int8"}
        Arithmetic of the layer.

    Returns
    -------
    bool
        What the break-even table says (`BREAK_EVEN_VERSION`). Its rates were fitted on one machine
        with AVX2.

    Raises
    ------
    ValueError
        If the density is out of range, a size is not positive, or there is no table for `dtype`.

    Examples
    --------
    >>> pointwise = ConvShape(1, (14, 14, 256), (14, 14, 256))
    >>> sparse_pays(pointwise, 0.9), sparse_pays(pointwise, 0.1)
    (False, True)
    """
    _check_dtype(dtype)
    if not 0 <= density <= 1:
        raise ValueError(f"sparse_pays: density must be in [0, 1], got {density}")
    return _core.runtime.sparse_pays(**asdict(shape), int8=dtype == "int8", density=density)


def break_even(shape: ConvShape, *, dtype: str = "float32") -> float | None:
    """Return the sparsity from which on a layer runs faster from its nonzero weights.

    Parameters
    ----------
    shape : ConvShape
    dtype : {"float32", "int8"}

    Returns
    -------
    float or None
        The lowest whole percentage, as a share, of weights (of int8 layers, of blocks of 1x4) that
        are 0; None where even one in a hundred does not pay.

    Examples
    --------
    >>> 0.3 < break_even(ConvShape(1, (14, 14, 256), (14, 14, 256))) < 0.6
    True
    """
    # Fewer weights are never slower.
    found = bisect_left(
        range(100), True, key=lambda percent: sparse_pays(shape, 1 - percent / 100, dtype=dtype)
    )
    return None if found == 100 else found / 100


def has_winograd(shape: ConvShape, *, dtype: str = "float32") -> bool:
    """Say whether the dense form of a layer is Winograd's, which needs 2 to 3 times fewer products.

    Parameters
    ----------
    shape : ConvShape
    dtype : {"float32", "int8"}

    Returns
    -------
    bool
    """
    _check_dtype(dtype)
    return _core.runtime.winograd_pays(**asdict(shape), int8=dtype == "int8")


def _check_dtype(dtype: str) -> None:
    if dtype not in SPARSE_DTYPES:
        known = ", ".join(SPARSE_DTYPES)
        raise ValueError(f"sparse_pays: dtype must be one of {known}, got {dtype!r}")


def conv_shape(graph: Any, node: Any, batch: int = 1) -> ConvShape | None:
    """Return the shape of a layer that the session may run sparse.

    Parameters
    ----------
    graph : Graph
    node : Node
        Of the graph.
    batch : int, default 1
        Samples that are computed at once.

    Returns
    -------
    ConvShape or None
        None for everything but dense layers and ungrouped convolutions with one or two spatial
        dimensions and constant weights.
    """
    edges, a = graph.edges, node.attributes
    if node.op not in ("conv", "dense") or not edges[node.inputs[1]].is_constant:
        return None
    x, w, y = (edges[i] for i in (node.inputs[0], node.inputs[1], node.outputs[0]))
    if node.op == "dense":
        rows = batch if x.shape[0] is None else x.shape[0]
        for length in x.shape[1:-1]:
            rows *= length
        return ConvShape(1, (1, rows, w.shape[1]), (1, rows, w.shape[0]))
    if a["groups"] != 1 or len(w.shape) not in (3, 4):
        return None
    rank = len(w.shape) - 2

    def pair(values: Any, one: int = 1) -> tuple[int, int]:
        first, last = (one, *values[:rank])[-2:]
        return first, last

    height, width = pair(x.shape[2:])
    below, along = pair(y.shape[2:])
    return ConvShape(
        batch if x.shape[0] is None else x.shape[0],
        (height, width, x.shape[1]),
        (below, along, y.shape[1]),
        pair(w.shape[2:]),
        pair(a["strides"]),
        pair(a["dilations"]),
        pair(a["pads"], 0),
    )


__all__ = [
    "BREAK_EVEN_VERSION",
    "SPARSE_DTYPES",
    "ConvShape",
    "break_even",
    "conv_shape",
    "has_winograd",
    "sparse_pays",
]
