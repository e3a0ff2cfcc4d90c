"""``tersor.sensitivity``: what quantizing each layer alone does to the network's output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.threads import get_threads
from ..data.calibration import calibration_labels
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..pruning import global_masks, magnitude_mask
from ..quantization import choose_qparams, dequantize, quantize
from ..report.evaluate import accuracy, top1
from ..report.heat_map import heat_color, heat_map_svg, heat_map_table
from ..runtime import Session
from .agreement import kl_divergence, signal_to_noise_db
from .calibrate import Progress, network_batches
from .float_twin import float_twin
from .progress import reporter
from .walk import Walk

if TYPE_CHECKING:
    from rich.table import Table

_LAYERS = {"conv": 0, "conv_transpose": 1, "dense": 0, "matmul": -1}
# Colours from harmless to ruinous: noise of 17 dB costs ResNet-20 a point of top-1.
_GOOD_DB, _BAD_DB = 40.0, 10.0


@dataclass(frozen=True)
class Effect:
    """What one layer at one width does to the output.

    Attributes
    ----------
    layer, op, origin : str
        Name and operator of the node, and its weight's name in the source framework.
    part : {"weights", "output", "pruned"}
        What was quantized: the weights (per output channel, or in groups) or the layer's output
        (one scale, minimum to maximum); or the weights of smallest magnitude were dropped.
    bits : int
        32 where pruned.
    sqnr_db : float
        Signal-to-noise ratio of the network's first output, infinite where nothing changed.
    kl : float
        Mean Kullback-Leibler divergence, in nats, of the classes' probabilities (softmax of the
        output, unless it is one already); 0 where the output is no row of numbers.
    sparsity : float
        Share of the weights that were dropped, in [0, 1].
    agreement : float or None
        Share of samples whose top-1 class stays; None where the output is no row of numbers.
    accuracy : float or None
        Top-1, share in [0, 1]; None without labels.
    """

    layer: str
    op: str
    origin: str
    part: str
    bits: int
    sqnr_db: float
    kl: float
    sparsity: float = 0.0
    agreement: float | None = None
    accuracy: float | None = None

    @property
    def what(self) -> str:
        """What was done, in a few words."""
        if self.part == "pruned":
            return f"{self.sparsity:.0%} pruned"
        return f"{self.part} {self.bits} bits"


class Sensitivity:
    """Effects of quantizing or pruning the layers of a network one at a time.

    Attributes
    ----------
    effects : list of Effect
        Layer by layer in the order of execution.
    samples : int
        Seen.
    accuracy : float or None
        Top-1 of the network as it is, share in [0, 1]; None without labels.
    """

    def __init__(
        self, effects: Sequence[Effect], samples: int, accuracy: float | None = None
    ) -> None:
        self.effects = list(effects)
        self.samples = samples
        self.accuracy = accuracy

    def worst(self, count: int = 3, bits: int | None = None) -> list[Effect]:
        """Return the effects with the lowest ratio.

        Parameters
        ----------
        count : int, default 3
        bits : int, optional
            Of this width only.

        Returns
        -------
        list of Effect
        """
        known = [e for e in self.effects if bits is None or e.bits == bits]
        return sorted(known, key=lambda e: e.sqnr_db)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data.

        Returns
        -------
        dict
        """
        effects = [vars(e) for e in self.effects]
        return {"samples": self.samples, "accuracy": self.accuracy, "effects": effects}

    def table(self, figure: str = "sqnr_db") -> Table:
        """Return a heat map for terminals and notebooks.

        Parameters
        ----------
        figure : {"sqnr_db", "kl"}

        Returns
        -------
        rich.table.Table
        """
        rows, columns = self._cells(figure)
        return heat_map_table(rows, columns, title=_TITLES[figure], caption=self._caption())

    def plot(self, figure: str = "sqnr_db") -> str:
        """Return a heat map as an SVG element.

        Parameters
        ----------
        figure : {"sqnr_db", "kl"}

        Returns
        -------
        str
        """
        rows, columns = self._cells(figure)
        return heat_map_svg(rows, columns, label=_TITLES[figure])

    def _cells(self, figure: str) -> tuple[list[tuple[str, list[tuple[str, str, str]]]], list[str]]:
        if figure not in _TITLES:
            raise ValueError(f"sensitivity: figure must be sqnr_db or kl, got {figure!r}")
        keys = list(dict.fromkeys(e.what for e in self.effects))
        rows: dict[str, dict[str, Effect]] = {}
        for e in self.effects:
            rows.setdefault(e.layer, {})[e.what] = e
        cells = [
            (layer, [_cell(found[key], figure) for key in keys if key in found])
            for layer, found in rows.items()
        ]
        return cells, keys

    def _caption(self) -> str:
        worst = ", ".join(f"{e.layer} ({e.what})" for e in self.worst())
        return f"{self.samples} samples; worst: {worst}"

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        layers = len({e.layer for e in self.effects})
        return f"Sensitivity({layers} layers, {self.samples} samples)"

    def _repr_html_(self) -> str:
        from html import escape

        return f"{self.plot()}<p>{escape(self._caption())}</p>"


def _cell(effect: Effect, figure: str) -> tuple[str, str, str]:
    """Text, colour and hint of one effect."""
    text = f"{effect.sqnr_db:.1f}" if figure == "sqnr_db" else f"{effect.kl:.2g}"
    hint = f"{effect.layer}: {effect.sqnr_db:.1f} dB, {effect.kl:.3g} nats"
    return text, heat_color(effect.sqnr_db, _GOOD_DB, _BAD_DB), hint


_TITLES = {
    "sqnr_db": "signal to noise of the output in dB, one layer changed at a time",
    "kl": "KL divergence of the output in nats, one layer changed at a time",
}


def sensitivity(
    graph: Graph,
    data: Any,
    *,
    bits: Sequence[int] = (8, 4, 3, 2),
    group_size: int | None = None,
    output_bits: Sequence[int] = (8,),
    sparsity: Sequence[float] = (),
    samples: int = 64,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> Sensitivity:
    """Quantize or prune one layer at a time and measure the network's output.

    Parameters
    ----------
    graph : Graph
        A float network. Not changed.
    data : array, path, pair (x, y), mapping of arrays, or iterable of batches
        Samples; with labels effects have accuracies too.
    bits : sequence of int, default (8, 4, 3, 2)
        Widths of weights, 2 to 8: symmetric, per output channel, scales of least squared error.
    group_size : int, optional
        Weights of one output that share a scale, instead of all of them.
    output_bits : sequence of int, default (8,)
        Widths of the layers' outputs, 2 to 8: one scale, as int8 activations have.
    sparsity : sequence of float
        Shares of weights to drop, in [0, 1]: the smallest of each layer and, in a row "all layers",
        the smallest of all layers together. ``bits=(), output_bits=()`` leaves only these.
    samples : int, default 64
        Used at most.
    preprocess : Preprocess, optional
        For raw samples (uint8); by default what the graph carries.
    seed : int, default 0
        Draws the samples.
    progress : bool or callable, default False
        True shows a bar; a callable gets ``(stage, done, total)``.

    Returns
    -------
    Sensitivity
        Prints as a heat map; the same for any number of threads.

    Raises
    ------
    ValueError
        If a width is out of range, the network is quantized already or has no layer with weights.
    DataError
        If there is no sample, a value is not finite, or a shape does not fit.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> w = graph.add_constant("w", np.arange(16, dtype=np.float32).reshape(4, 4))
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "fc")])
    >>> found = tersor.sensitivity(graph, np.ones((8, 4), np.float32), bits=[4, 2])
    >>> [(e.layer, e.part, e.bits) for e in found.worst(1)]
    [('fc', 'weights', 2)]
    """
    _check(graph, bits, output_bits, sparsity, group_size)
    plain = float_twin(graph)
    prepare = preprocess or Preprocess.parse(graph.preprocess or None)
    batches = list(network_batches(plain, data, prepare, limit=samples, seed=seed, batch_size=32))
    nodes, edges = plain.nodes, plain.edges
    todo = [i for i, n in enumerate(nodes) if n.op in _LAYERS and edges[n.inputs[1]].is_constant]
    if not todo:
        raise ValueError("sensitivity: graph must have layers with weights, got none")
    walk = Walk(plain, batches, get_threads())
    output = edges[plain.output_ids[0]].name
    wanted = _run(Session(plain, get_threads()), batches)
    names = [edge.name for edge in plain.inputs]
    labels = calibration_labels(data, limit=samples, names=names, seed=seed)
    truth = _Truth(wanted, labels)
    trial = Session(plain, get_threads())
    effects: list[Effect] = []
    with reporter(progress) as report:
        for count, index in enumerate(todo):
            report("sensitivity", count, len(todo))
            walk.advance(index)
            node = nodes[index]
            weight = edges[node.inputs[1]]
            about = (node.name, node.op, weight.origin)
            for width in bits:
                rounded = _rounded(np.asarray(weight.constant), node, width, group_size)
                trial.update_weights(weight.name, rounded)
                got = _suffix(trial, walk.values, output)
                effects.append(truth.effect(about, "weights", width, got))
            for share in sparsity:
                w = np.asarray(weight.constant)
                trial.update_weights(weight.name, w * magnitude_mask(w, share))
                got = _suffix(trial, walk.values, output)
                effects.append(truth.effect(about, "pruned", 32, got, share))
            trial.update_weights(weight.name, weight.constant)
            if output_bits:
                following = Walk(plain, walk.values, get_threads(), walk.session)
                effects += _output_effects(
                    plain, index, about, output_bits, following, trial, truth, output
                )
        weights = [edges[nodes[i].inputs[1]] for i in todo]
        for share in sparsity:
            values = [np.asarray(edge.constant) for edge in weights]
            for edge, w, mask in zip(weights, values, global_masks(values, share), strict=True):
                trial.update_weights(edge.name, w * mask)
            got = _run(trial, batches)
            effects.append(truth.effect(("all layers", "", ""), "pruned", 32, got, share))
        report("sensitivity", len(todo), len(todo))
    return Sensitivity(effects, sum(len(b[0]) for b in batches), truth.accuracy_of(wanted))


def _output_effects(
    graph: Any,
    index: int,
    about: tuple[str, str, str],
    widths: Sequence[int],
    walk: Walk,
    trial: Session,
    truth: _Truth,
    output: str,
) -> Iterator[Effect]:
    """The layer's output is rounded instead of its weights."""
    name = graph.edges[graph.nodes[index].outputs[0]].name
    if name == output:
        return
    walk.advance(index + 1)
    values = np.concatenate([known[name] for known in walk.values])
    for width in widths:
        q = choose_qparams(values, bits=width, symmetric=False)
        rounded = [
            {**known, name: dequantize(quantize(known[name], q), q)} for known in walk.values
        ]
        got = _suffix(trial, rounded, output)
        yield truth.effect(about, "output", width, got)


def _rounded(
    w: NDArray[np.float32], node: Any, bits: int, group_size: int | None
) -> NDArray[np.float32]:
    """Return the weights on the grid of that width."""
    axis = _LAYERS[node.op] % w.ndim
    if group_size is None or node.op not in ("conv", "dense"):
        q = choose_qparams(w, bits=bits, axis=axis, method="mse")
        return dequantize(quantize(w, q), q)
    rows = w.reshape(len(w), -1)
    width = -(-rows.shape[1] // group_size) * group_size
    padded = np.zeros((len(w), width), np.float32)  # zeros change no scale of least squared error
    padded[:, : rows.shape[1]] = rows
    groups = padded.reshape(-1, group_size)
    q = choose_qparams(groups, bits=bits, axis=0, method="mse")
    values = dequantize(quantize(groups, q), q).reshape(padded.shape)
    return np.ascontiguousarray(values[:, : rows.shape[1]]).reshape(w.shape)


def _run(session: Session, batches: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
    outputs = [session(*batch) for batch in batches]
    return np.concatenate([np.asarray(y[0] if isinstance(y, tuple) else y) for y in outputs])


def _suffix(
    session: Session, values: Sequence[dict[str, NDArray[Any]]], output: str
) -> NDArray[Any]:
    parts = [
        known[output] if output in known else session.run_edges(known, [output])[output]
        for known in values
    ]
    return np.concatenate(parts)


class _Truth:
    """What outputs are compared with: those of the network as it is, and labels."""

    def __init__(self, wanted: NDArray[Any], labels: NDArray[np.int64] | None) -> None:
        self.wanted = wanted
        self.classes = wanted.ndim == 2 and wanted.shape[1] > 1
        self.labels = labels if self.classes else None

    def accuracy_of(self, got: NDArray[Any]) -> float | None:
        return None if self.labels is None else accuracy(got, self.labels)

    def effect(
        self,
        about: tuple[str, str, str],
        part: str,
        bits: int,
        got: NDArray[Any],
        sparsity: float = 0.0,
    ) -> Effect:
        return Effect(
            *about,
            part,
            bits,
            sqnr_db=signal_to_noise_db(self.wanted, got),
            kl=kl_divergence(self.wanted, got),
            sparsity=sparsity,
            agreement=float((top1(got) == top1(self.wanted)).mean()) if self.classes else None,
            accuracy=self.accuracy_of(got),
        )


def _check(
    graph: object,
    bits: Sequence[int],
    output_bits: Sequence[int],
    sparsity: Sequence[float],
    group_size: int | None,
) -> None:
    if not isinstance(graph, _core.graph.Graph):
        raise TypeError(f"sensitivity: graph must be a tersor.Graph, got {type(graph).__name__}")
    for name, widths in (("bits", bits), ("output_bits", output_bits)):
        if any(not 2 <= width <= 8 for width in widths):
            raise ValueError(f"sensitivity: {name} must be in [2, 8], got {list(widths)}")
    if any(not 0 <= share <= 1 for share in sparsity):
        raise ValueError(f"sensitivity: sparsity must be in [0, 1], got {list(sparsity)}")
    if group_size is not None and group_size < 1:
        raise ValueError(f"sensitivity: group_size must be at least 1, got {group_size}")
    quantized = [e.name for e in graph.edges if e.qparams is not None]
    if quantized:
        raise ValueError(
            f"sensitivity: graph must be a float network, got one with codes (edge {quantized[0]})"
        )


__all__ = ["Effect", "Sensitivity", "sensitivity"]
