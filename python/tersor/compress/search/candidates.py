"""What one layer may become, measured on its own: error, bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...pruning import block_mask, weight_activation_scores
from ...reconstruction import prune_matrix, round_matrix
from ..layer_format import LayerFormat
from ..level_grid import LevelGrid, round_to_levels
from ..prune_layer import Cut
from ..rate_distortion import RatedLayer
from ..weight_matrix import from_rows

# Bits a weight at which priced rounding is tried; between them errors and bytes are interpolated.
RATES = (0.3, 0.8, 1.3, 1.8, 2.3, 2.8, 3.5, 4.5, 6.0)
_BETWEEN = 3
# Share of the output's variance that 3 bits a weight leave, about.
_NOISE_AT_3_BITS = 0.004
_FEW_BITS = (6, 5, 4, 3)
_SPARSITIES = (0.5, 0.75)
_BLOCK = (1, 4)
_PRUNED_RATES = (1.3, 2.3)


@dataclass(frozen=True)
class Candidate:
    """A layer in one structure with one kind of values.

    Attributes
    ----------
    format : LayerFormat
    error : float
        Noise of the layer's output, as a share of its variance.
    nbytes : int
        Of the coded weight in a file.
    sparsity : float
        Share of the weights, or blocks of 1x4 where activations are int8, that are dropped first.
    seconds : float
        Of the layer for one sample.
    flash_bytes : int
        Of the weight on a microcontroller.
    """

    format: LayerFormat
    error: float
    nbytes: int
    sparsity: float = 0.0
    seconds: float = 0.0
    flash_bytes: int = 0

    def to_plain(self) -> list[Any]:
        """Return plain data; `from_plain` reads it back."""
        return [self.format.to_plain(), self.error, self.nbytes, self.sparsity]

    @classmethod
    def from_plain(cls, row: list[Any]) -> Candidate:
        """Read what `to_plain` gave."""
        return cls(
            LayerFormat.parse(row[0], "candidate"), float(row[1]), int(row[2]), float(row[3])
        )


def float_candidates(
    node: Any, shape: tuple[int, ...], layer: RatedLayer, threads: int, *, quick: bool = False
) -> Iterator[Candidate]:
    """Measure what a layer of float activations may become.

    Parameters
    ----------
    node : Node
    shape : tuple of int
        Of its weight.
    layer : RatedLayer
    threads : int
    quick : bool, default False
        A third of the prices, and nothing else.

    Yields
    ------
    Candidate
    """
    size, outputs = layer.target.size, len(layer.target) * layer.target.shape[1]
    yield Candidate(LayerFormat("fp32"), 0.0, 4 * size)
    yield Candidate(LayerFormat("fp16"), 4.0**-11 / 3, 2 * size)
    yield from _rated(node, shape, layer, RATES[1::3] if quick else RATES, threads)
    if quick:
        return
    done = round_to_levels(
        layer.target, layer.hessian, LevelGrid(16), layer.power, kept=layer.kept, threads=threads
    )
    table = 32 + (2 * outputs if len(done.qparams["scale"]) > 1 else 4)
    coded = _coded(node, shape, done.codes, 4)
    yield Candidate(LayerFormat("codebook4"), done.error / layer.power, coded + table)
    for bits in (8, 4):
        format = LayerFormat("w8a32" if bits == 8 else "w4a32")
        groups = format.group_size or layer.target.shape[2]
        scales = 2 * outputs * math.ceil(layer.target.shape[2] / groups)
        error, codes = _rounded(layer, bits, format.group_size or None, False, threads)
        yield Candidate(format, error, _coded(node, shape, codes, bits) + scales)
    if node.op not in ("conv", "dense"):
        return
    for sparsity in _SPARSITIES:
        pruned = replace(layer, kept=_masked(layer, shape, sparsity, (1, 1)))
        for candidate in _rated(node, shape, pruned, _PRUNED_RATES, threads):
            yield replace(candidate, sparsity=sparsity)


def int8_candidates(
    node: Any, shape: tuple[int, ...], layer: RatedLayer, noise: float, threads: int
) -> Iterator[Candidate]:
    """Measure what a layer of int8 activations may become.

    Parameters
    ----------
    node, shape, layer, threads
        As for `float_candidates`.
    noise : float
        Of the rounded activations, as a share of their variance.

    Yields
    ------
    Candidate
    """
    outputs = len(layer.target) * layer.target.shape[1]
    for bits in (8, *_FEW_BITS):
        error, codes = _rounded(layer, bits, None, True, threads)
        format = LayerFormat("int8") if bits == 8 else LayerFormat("w4a8", bits=bits)
        yield Candidate(format, error + noise, _coded(node, shape, codes, bits) + 4 * outputs)
    if node.op != "conv" or layer.target.shape[0] > 1 or shape[1] % _BLOCK[1]:
        return
    for sparsity in _SPARSITIES:
        mask = _masked(layer, shape, sparsity, _BLOCK)
        kept = replace(layer, kept=mask)
        error, codes = _rounded(kept, 8, None, True, threads)
        yield Candidate(
            LayerFormat("int8"),
            error + noise,
            _coded(node, shape, codes, 8) + 4 * outputs,
            sparsity,
        )


def _rated(
    node: Any, shape: tuple[int, ...], layer: RatedLayer, rates: Sequence[float], threads: int
) -> Iterator[Candidate]:
    """Priced rounding at several prices, and what stands between them."""
    known: list[tuple[float, float, int]] = []
    for rate in rates:
        price = _NOISE_AT_3_BITS * 2 * math.log(2) / layer.target.size * 4 ** (3 - rate)
        done = round_to_levels(
            layer.target,
            layer.hessian,
            LevelGrid(0, price),
            layer.power,
            kept=layer.kept,
            quick=True,
            threads=threads,
        )
        scales = len(done.qparams["scale"])
        coded = _coded(node, shape, done.codes, done.qparams["bits"])
        coded += 4 if scales == 1 else 2 * scales
        known.append((price, max(done.error / layer.power, 1e-12), coded))
    for (p, e, b), (q, f, c) in itertools.pairwise(known):
        between = 1 if rates is _PRUNED_RATES else _BETWEEN * len(RATES) // len(rates)
        for step in range(between):
            t = step / between
            yield _priced(p ** (1 - t) * q**t, e ** (1 - t) * f**t, (1 - t) * b + t * c)
    yield _priced(*known[-1])


def _priced(price: float, error: float, nbytes: float) -> Candidate:
    # Three digits: prices are part of the file.
    format = LayerFormat("rate-distortion", price=float(f"{price:.3g}"))
    return Candidate(format, error, round(nbytes))


def _rounded(
    layer: RatedLayer, bits: int, group_size: int | None, int8: bool, threads: int
) -> tuple[float, NDArray[np.int8]]:
    """Error and codes of uniform rounding."""
    error, codes = 0.0, []
    for target, hessian, kept in zip(layer.target, layer.hessian, layer.kept, strict=True):
        if kept.all():
            done = round_matrix(
                target,
                hessian,
                bits,
                group_size=group_size,
                narrow=int8,
                scale_dtype="float32" if int8 else "float16",
                sweeps=2,
                threads=threads,
            )
        else:
            pruned = prune_matrix(
                target, hessian, mask=kept, bits=bits, narrow=int8, threads=threads
            )
            assert pruned.rounded is not None
            done = pruned.rounded
        error += done.error
        codes.append(done.codes)
    return error / layer.power, np.stack(codes)


def _masked(
    layer: RatedLayer, shape: tuple[int, ...], sparsity: float, block: tuple[int, int]
) -> NDArray[np.bool_]:
    """Keep the weights, or blocks, of the largest weight x activation."""
    order = Cut(sparsity, block=block).columns(shape)
    masks = np.empty(layer.target.shape, np.bool_)
    for mask, target, hessian in zip(masks, layer.target, layer.hessian, strict=True):
        scores = weight_activation_scores(target, np.sqrt(np.diag(hessian)))
        mask[:, order] = block_mask(
            target[:, order], sparsity, block, scores=np.square(scores)[:, order]
        )
    return masks


def _coded(node: Any, shape: tuple[int, ...], codes: NDArray[Any], bits: int) -> int:
    """Bytes of codes in a file."""
    weight = np.ascontiguousarray(from_rows(node, codes, shape))
    return int(_core.artifact.stored_bytes(weight, bits, "fast"))


__all__ = ["RATES", "Candidate", "float_candidates", "int8_candidates"]
