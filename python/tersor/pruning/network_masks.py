"""Masks of all layers of a network together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .masks import block_mask, global_masks, magnitude_mask, mask_from_scores, nm_mask
from .scores import lamp_scores, random_scores

SCOPES = ("global", "layer")
# A layer with fewer exact zeros than this share was not pruned: zeros also come from underflow.
_PRUNED_SHARE = 0.05


def network_masks(
    weights: Mapping[str, ArrayLike],
    sparsity: float,
    *,
    structure: str = "unstructured",
    scope: str = "global",
    scores: Mapping[str, ArrayLike] | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """Choose what every layer keeps.

    Parameters
    ----------
    weights : mapping of str to array-like of float32, shape (outputs, ...)
    sparsity : float
        Share of weights (or blocks) to drop, in [0, 1]. ``n:m`` has its own: it is taken from
        ``sparsity >= 1 - n / m`` on.
    structure : str, default "unstructured"
        Or blocks such as ``"1x4"``, rows times columns of the weight as a matrix of a row per
        output and input channels innermost (:func:`structure_columns`); or ``"2:4"``: at most 2 of
        every 4 consecutive weights of such a row.
    scope : {"global", "layer"}
        The share counts over all layers together, or in each.
    scores : mapping of str to array-like of float32, optional
        Instead of magnitudes, of the same shapes; the highest stay.

    Returns
    -------
    dict of str to ndarray of bool
        True where kept.

    Raises
    ------
    ValueError
        If an argument is out of range or a value is NaN.

    Examples
    --------
    >>> network_masks({"a": [[1.0, -5.0]], "b": [[3.0, 0.5]]}, 0.5)
    {'a': array([[False,  True]]), 'b': array([[ True, False]])}
    """
    if scope not in SCOPES:
        raise ValueError(f"network_masks: scope must be global or layer, got {scope!r}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"network_masks: sparsity must be in [0, 1], got {sparsity}")
    arrays = {name: np.asarray(w, np.float32, order="C") for name, w in weights.items()}
    rated = None
    if scores is not None:
        rated = {name: np.asarray(scores[name], np.float32, order="C") for name in arrays}
        for name, w in arrays.items():
            if rated[name].shape != w.shape:
                raise ValueError(
                    f"network_masks: scores[{name!r}] must have shape {w.shape}, got "
                    f"{rated[name].shape}"
                )
    kind, first, second = parse_structure(structure)
    if kind == "n:m" and sparsity < 1 - first / second:
        return {name: np.ones(w.shape, np.bool_) for name, w in arrays.items()}
    if kind != "unstructured":
        orders = {name: structure_columns(w.shape) for name, w in arrays.items()}
        rows = {name: w.reshape(len(w), -1)[:, orders[name]] for name, w in arrays.items()}
        if rated is not None:
            rated = {n: r.reshape(len(r), -1)[:, orders[n]] for n, r in rated.items()}
        if kind == "blocks":
            chosen = _blocks(rows, sparsity, (first, second), scope, rated)
        else:
            chosen = {
                name: nm_mask(w, first, second, scores=None if rated is None else rated[name])
                for name, w in rows.items()
            }
        masks = {}
        for name, w in arrays.items():
            mask = np.empty(rows[name].shape, np.bool_)
            mask[:, orders[name]] = chosen[name]
            masks[name] = mask.reshape(w.shape)
        return masks
    if scope == "global":
        best = global_masks(list((rated or arrays).values()), sparsity, absolute=rated is None)
        return dict(zip(arrays, best, strict=True))
    if rated is None:
        return {name: magnitude_mask(w, sparsity) for name, w in arrays.items()}
    return {name: mask_from_scores(s, sparsity) for name, s in rated.items()}


def structure_columns(shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the order of a weight's columns in which blocks and n:m groups lie.

    Input channels are innermost, so that a block of a convolution is consecutive channels of one
    kernel position: what channels-last kernels load together.

    Parameters
    ----------
    shape : sequence of int
        (outputs, inputs, kernel...).

    Returns
    -------
    ndarray of int64, shape (inputs * kernel positions,)
        Of the columns of ``w.reshape(outputs, -1)``.

    Examples
    --------
    >>> structure_columns((8, 2, 1, 3))
    array([0, 3, 1, 4, 2, 5])
    """
    inputs = int(shape[1]) if len(shape) > 1 else 1
    positions = int(np.prod(shape[2:]))
    order: NDArray[np.int64] = np.arange(inputs * positions).reshape(inputs, positions).T
    return order.reshape(-1)


def parse_structure(structure: str, name: str = "structure") -> tuple[str, int, int]:
    """Read the name of a structure.

    Parameters
    ----------
    structure : str
        "unstructured", rows times columns of a block ("1x4"), or n:m ("2:4").
    name : str, default "structure"
        Of the argument, for the message.

    Returns
    -------
    kind : {"unstructured", "blocks", "n:m"}
    first, second : int
        Rows and columns, or n and m; 1 and 1 for single weights.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> parse_structure("2:4")
    ('n:m', 2, 4)
    """
    if structure == "unstructured":
        return "unstructured", 1, 1
    found = re.fullmatch(r"([1-9]\d{0,3})([x:])([1-9]\d{0,3})", str(structure))
    if found:
        first, second = int(found[1]), int(found[3])
        if found[2] == "x":
            return "blocks", first, second
        if first <= second:
            return "n:m", first, second
    raise ValueError(
        f"{name} must be 'unstructured', blocks such as '1x4', or n:m such as '2:4', got "
        f"{structure!r}"
    )


def is_pruned(w: ArrayLike) -> bool:
    """Return whether a weight has the zeros of pruning: 5 % of its values or more, but not all.

    Training after pruning holds the zeros of such weights.

    Parameters
    ----------
    w : array-like

    Returns
    -------
    bool

    Examples
    --------
    >>> is_pruned([0.0, 0.0, 1.0]), is_pruned([0.0, 0.0]), is_pruned([1.0, 2.0])
    (True, False, False)
    """
    values = np.asarray(w)
    zeros = values.size - int(np.count_nonzero(values))
    return max(1, _PRUNED_SHARE * values.size) <= zeros < values.size


def _blocks(
    arrays: Mapping[str, NDArray[np.float32]],
    sparsity: float,
    block: tuple[int, int],
    scope: str,
    rated: Mapping[str, NDArray[np.float32]] | None,
) -> dict[str, NDArray[np.bool_]]:
    if scope == "layer":
        return {
            name: block_mask(w, sparsity, block, scores=None if rated is None else rated[name])
            for name, w in arrays.items()
        }
    kind = "l2" if rated is None else "sum"
    matrices = {name: np.ascontiguousarray(w) for name, w in (rated or arrays).items()}
    blocks = [_core.pruning.block_scores(m, *block, kind) for m in matrices.values()]
    kept = _core.pruning.kept_count("network_masks", sum(b.size for b in blocks), sparsity)
    chosen = _core.pruning.keep_highest("network_masks", blocks, kept, False)
    return {
        name: _core.pruning.expand_blocks(c, m.shape[0], m.shape[1], *block)
        for (name, m), c in zip(matrices.items(), chosen, strict=True)
    }


def score_weights(
    weights: Mapping[str, NDArray[np.float32]], criterion: str, seed: int = 0
) -> dict[str, NDArray[np.float32]] | None:
    """Return the scores of a network's weights by a criterion that needs no gradient.

    Parameters
    ----------
    weights : mapping of str to ndarray of float32
    criterion : {"magnitude", "lamp", "random"}
    seed : int, default 0
        Of "random"; every weight has its own draw.

    Returns
    -------
    dict of str to ndarray of float32, or None
        None for magnitudes, which :func:`network_masks` takes by itself.

    Examples
    --------
    >>> score_weights({"a": np.ones((1, 2), np.float32)}, "lamp")["a"].shape
    (1, 2)
    """
    if criterion == "lamp":
        return {name: lamp_scores(w) for name, w in weights.items()}
    if criterion == "random":
        return {n: random_scores(w.shape, seed + i) for i, (n, w) in enumerate(weights.items())}
    return None


__all__ = [
    "SCOPES",
    "is_pruned",
    "network_masks",
    "parse_structure",
    "score_weights",
    "structure_columns",
]
