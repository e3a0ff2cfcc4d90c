"""Which channels a recipe removes: units as text, and the network without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.threads import get_threads
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..graph.channels import remove_channels
from .calibrate import Progress, network_batches
from .channel_criteria import find_units
from .channels import kept_places
from .float_twin import float_twin
from .merged_blocks import merge_blocks
from .refit import refit_network

_SAMPLES = 512


def units_text(kept: NDArray[np.bool_]) -> str:
    """Return units as hexadecimal digits, four a digit, 1 for those that stay.

    Parameters
    ----------
    kept : ndarray of bool, shape (units,)

    Returns
    -------
    str

    Examples
    --------
    >>> units_text(np.array([True, False, True, True, True]))
    'b8'
    """
    return np.packbits(kept).tobytes().hex()[: -(-len(kept) // 4)]


def units_mask(text: str, units: int) -> NDArray[np.bool_]:
    """Read what `units_text` wrote.

    Parameters
    ----------
    text : str
    units : int
        Of the network.

    Returns
    -------
    ndarray of bool, shape (units,)

    Raises
    ------
    ValueError
        If the text is for another number of units.
    """
    if len(text) != -(-units // 4):
        raise ValueError(
            f"recipe: channels must have {-(-units // 4)} digits for the {units} units of this "
            f"network, got {len(text)}"
        )
    data = bytes.fromhex(text + "0" * (len(text) % 2))
    return np.unpackbits(np.frombuffer(data, np.uint8))[:units].astype(np.bool_)


def without_units(
    graph: Graph,
    text: str,
    data: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
    merged: Sequence[str] = (),
) -> Graph:
    """Remove channels and refit what is left.

    Parameters
    ----------
    graph : Graph
        Float. Not changed.
    text : str
        From `units_text`, of the units of the network with BatchNorm folded and blocks merged.
    data : object
        Unlabeled samples; None leaves the weights as they are.
    preprocess : Preprocess or None
    seed : int
    report : callable
    merged : sequence of str
        Blocks that become one convolution first (:mod:`tersor.compress.merged_blocks`).

    Returns
    -------
    Graph
    """
    whole = float_twin(graph)
    deep = merge_blocks(whole, merged) if merged else whole
    channels = find_units(deep, ())
    mask = units_mask(text, len(channels.units))
    small = Graph(remove_channels(deep, channels, mask))
    if data is not None:
        batches = list(network_batches(whole, data, preprocess, limit=_SAMPLES, seed=seed))
        places = kept_places(deep, channels, mask)
        refit_network(whole, small, places, batches, threads=get_threads(), progress=report)
    small.preprocess = dict(graph.preprocess)
    return small


__all__ = ["units_mask", "units_text", "without_units"]
