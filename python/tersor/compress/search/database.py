"""What every layer of a network may become: measured once, kept by content."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core, artifact
from ...graph import Graph
from ...runtime import Session
from ..calibrate import Progress
from ..level_grid import LevelGrid, round_to_levels
from ..rate_distortion import output_divergence, rated_layer
from ..repair import why_nearest
from ..walk import Walk
from ..weight_matrix import LAYERS, from_rows, to_rows
from .candidates import Candidate, float_candidates, int8_candidates

# Of the entries' layout and of how they are measured.
_VERSION = 1
_PROBE_SAMPLES = 256
_PROBE = 0.004
# Layers beyond get fewer candidates: that of a 3x3 layer of 64 channels is 2.1e7, and 3 s.
_MOST_WORK = 150_000_000


@dataclass(frozen=True)
class LayerEntry:
    """One layer.

    Attributes
    ----------
    name : str
        Of its node.
    importance : float
        What noise of the layer's output counts in the network's, per share of its variance: the
        root of (divergence of the network's output per share of noise), as measured.
    candidates : tuple of Candidate
        Of float activations.
    int8 : tuple of Candidate
        Of int8 activations; empty where they were not asked for.
    """

    name: str
    importance: float
    candidates: tuple[Candidate, ...]
    int8: tuple[Candidate, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return plain data; `from_plain` reads it back."""
        return {
            "name": self.name,
            "importance": self.importance,
            "candidates": [c.to_plain() for c in self.candidates],
            "int8": [c.to_plain() for c in self.int8],
        }

    @classmethod
    def from_plain(cls, document: dict[str, Any]) -> LayerEntry:
        """Read what `to_plain` gave."""
        return cls(
            str(document["name"]),
            float(document["importance"]),
            tuple(Candidate.from_plain(row) for row in document["candidates"]),
            tuple(Candidate.from_plain(row) for row in document["int8"]),
        )


def measure_layers(
    graph: Graph,
    batches: Sequence[Sequence[NDArray[Any]]],
    *,
    kind: str = "float",
    cache: Path | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    late: Callable[[], bool] | None = None,
) -> list[LayerEntry]:
    """Measure what every layer with a weight may become, in one pass over the samples.

    Parameters
    ----------
    graph : Graph
        Float, canonical.
    batches : sequence of lists of ndarray
        Unlabeled samples, one array per input.
    kind : {"float", "int8"}
        Which activations the candidates have.
    cache : Path, optional
        Folder where each layer's entry is kept as soon as it is measured, under the hash of
        network and samples: an interrupted pass goes on where it was.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`. Results do not depend on it.
    progress : callable, optional
        Called as ``progress("measure", layers done, layers)``.
    late : callable, optional
        True once there is little time: layers behind get a few candidates only.

    Returns
    -------
    list of LayerEntry
        In the order of execution.
    """
    todo = [i for i, node in enumerate(graph.nodes) if _can_change(graph, node)]
    folder = None if cache is None else _folder(cache, graph, batches, kind)
    known: dict[int, LayerEntry] = {}
    for index in todo if folder else ():
        entry = _read(folder, index, graph.nodes[index].name)
        if entry is not None:
            known[index] = entry
    walk = Walk(graph, batches, threads) if len(known) < len(todo) else None
    probe = _Probe(graph, batches, threads) if walk is not None else None
    entries = []
    for count, index in enumerate(todo):
        if progress is not None:
            progress("measure", count, len(todo))
        if index not in known:
            quick = late is not None and late()
            quick = quick or _work(graph, index) > _MOST_WORK
            assert walk is not None
            assert probe is not None
            walk.advance(index)
            known[index] = _measured(graph, index, walk, probe, kind, threads, quick)
            if folder is not None and not (late is not None and late()):
                _write(folder, index, known[index])
        entries.append(known[index])
    if progress is not None:
        progress("measure", len(todo), len(todo))
    return entries


def _can_change(graph: Any, node: Any) -> bool:
    if node.op not in LAYERS or node.inputs[1] < 0:
        return False
    return graph.edges[node.inputs[1]].is_constant and not why_nearest(
        graph, node.name, LevelGrid()
    )


def _work(graph: Any, index: int) -> int:
    """Of rounding a layer once, about: weights times weights of an output."""
    node = graph.nodes[index]
    weight = graph.edges[node.inputs[1]].constant
    return int(weight.size) * int(to_rows(node, weight).shape[-1])


def _measured(
    graph: Graph, index: int, walk: Walk, probe: _Probe, kind: str, threads: int, quick: bool
) -> LayerEntry:
    node = graph.nodes[index]
    layer = rated_layer(graph, index, walk, threads)
    weight = graph.edges[node.inputs[1]]
    price = _PROBE * 2 * math.log(2) / layer.target.size
    codes = round_to_levels(
        layer.target,
        layer.hessian,
        LevelGrid(0, price),
        layer.power,
        kept=layer.kept,
        quick=True,
        threads=threads,
    )
    values = from_rows(node, codes.values, weight.constant.shape)
    importance = probe.importance(weight, values, codes.error / layer.power)
    shape = tuple(weight.shape)
    if kind == "int8":
        x = np.concatenate([v[graph.edges[node.inputs[0]].name] for v in walk.values[:2]])
        found = tuple(int8_candidates(node, shape, layer, _noise(x), threads))
        return LayerEntry(node.name, importance, (), found)
    found = tuple(float_candidates(node, shape, layer, threads, quick=quick))
    return LayerEntry(node.name, importance, found)


def _noise(x: NDArray[Any]) -> float:
    """Of values rounded to 256 steps between the least and the largest, per share of variance."""
    step = float(x.max() - x.min()) / 255
    return step**2 / 12 / max(float(np.square(x, dtype=np.float64).mean()), 1e-30)


class _Probe:
    """The network with one layer changed at a time."""

    def __init__(
        self, graph: Graph, batches: Sequence[Sequence[NDArray[Any]]], threads: int
    ) -> None:
        self._head = [np.concatenate(p)[:_PROBE_SAMPLES] for p in zip(*batches, strict=True)]
        self._session = Session(graph, threads)
        self._wanted = self._output()

    def _output(self) -> NDArray[Any]:
        output = self._session(*self._head)
        return np.asarray(output[0] if isinstance(output, tuple) else output)

    def importance(self, weight: Any, values: NDArray[np.float32], noise: float) -> float:
        self._session.update_weights(weight.name, np.ascontiguousarray(values, np.float32))
        effect = output_divergence(self._wanted, self._output())
        self._session.update_weights(weight.name, weight.constant)
        # Six digits: the last ones of a product may differ between machines.
        return float(f"{math.sqrt(max(effect, 1e-9) / max(noise, 1e-12)):.6g}")


def _folder(
    cache: Path, graph: Graph, batches: Sequence[Sequence[NDArray[Any]]], kind: str
) -> Path:
    """Where the entries of a network and its samples are kept."""
    digest = hashlib.sha256(artifact.content_hash(graph).encode())
    for batch in batches:
        for x in batch:
            digest.update(repr((x.shape, str(x.dtype))).encode())
            digest.update(np.ascontiguousarray(x).tobytes())
    digest.update(f"{kind} {_VERSION} {_core.base.version()}".encode())
    folder = Path(cache) / f"layers-{digest.hexdigest()[:32]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(folder: Path | None, index: int, name: str) -> LayerEntry | None:
    assert folder is not None
    try:
        entry = LayerEntry.from_plain(json.loads((folder / f"{index}.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None  # not there yet, or not whole: it is measured again
    return entry if entry.name == name else None


def _write(folder: Path, index: int, entry: LayerEntry) -> None:
    part = folder / f"{index}.json.{os.getpid()}"
    part.write_text(json.dumps(entry.to_plain()), "utf-8")
    part.replace(folder / f"{index}.json")


__all__ = ["LayerEntry", "measure_layers"]
