"""``tersor.compress.prune``: weights dropped from a whole network, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.threads import get_threads
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..pruning import (
    block_mask,
    select_layers,
    weight_activation_scores,
)
from ..pruning.network_masks import network_masks, parse_structure, score_weights
from ..reconstruction import Moments, normal_equations, prune_matrix, removal_curve
from ..runtime import Session
from .agreement import kl_divergence
from .allocation import allocate_removals
from .calibrate import Progress, network_batches
from .float_twin import float_twin
from .layer_format import check_choice
from .one_layer import observe_layer, own_parameters
from .progress import reporter
from .prune_layer import (
    Cut,
    LayerSamples,
    PrunedLayer,
    prune_layer,
    rescale_layer,
)
from .pruning_recipe import METHODS, REESTIMATE
from .repair import most_samples
from .walk import Walk

# Samples that the sensitivity of layers is measured on; weights are fitted to more.
_FEW = 256
_BATCH = 64
_PASSES = 2


@dataclass(frozen=True)
class PrunedGraph:
    """A pruned float network.

    Attributes
    ----------
    graph : Graph
        Dropped weights are exactly 0, and stay so through quantization and export.
    masks : dict of str to ndarray of bool
        By node, of the weight's shape, True where kept.
    errors : dict of str to float
        By node, mean squared error of its output (after the sum and ReLU that follow), as a share
        of the output's variance; empty without samples.
    rescaled : dict of str to int
        By node, channels whose scale and mean were restored, as re-estimating BatchNorm does.
    samples : int
        Seen.
    """

    graph: Graph
    masks: dict[str, NDArray[np.bool_]]
    errors: dict[str, float]
    rescaled: dict[str, int]
    samples: int

    @property
    def sparsity(self) -> float:
        """Share of the prunable layers' weights that were dropped."""
        total = sum(mask.size for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / max(1, total)


def prune(
    graph: Graph,
    data: Any = None,
    sparsity: float = 0.5,
    *,
    structure: str = "unstructured",
    exclude: Sequence[str] = (),
    method: str = "second-order",
    reestimate: str = "improves",
    samples: int = 1024,
    layers: Mapping[str, float] | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> PrunedGraph:
    """Drop weights of convolutions and dense layers so that the network's outputs stay.

    How many weights each layer loses follows from what their removal costs the layer's output and
    from what that costs the network's output, both measured: at the optimum one more weight costs
    the same everywhere. Then layer after layer is pruned by Optimal Brain Surgeon
    (:func:`tersor.reconstruction.prune_matrix`) and refitted to the float network's activations
    for the inputs that it gets from the layers pruned before it, so that each makes good what those
    did; where a ReLU follows, only what it lets through counts.

    Parameters
    ----------
    graph : Graph
        A float network. Not changed.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples, about 1,000; may be None for "magnitude" and "lamp".
    sparsity : float, default 0.5
        Share of the weights (or blocks) of all pruned layers together, in [0, 1). N:M has its own.
    structure : str, default "unstructured"
        Or ``"1x4"``: blocks of that many rows and columns of the weight as a matrix of a row per
        output, input channels innermost; or ``"2:4"``: at most 2 of every 4 consecutive weights of
        such a row.
    exclude : sequence of str
        Patterns with ``*`` and ``?`` on the names of nodes or of their weights.
    method : {"second-order", "magnitude", "lamp"}
        "magnitude" drops the smallest weights of all layers together (blocks: of each layer) and
        changes no others; "lamp" the same with layer-adaptive magnitudes, which do not depend on
        the scales that folded BatchNorms give to layers.
    reestimate : {"improves", "always", "never"}
        Restore mean and scale of every output channel, as re-estimating BatchNorm does: where that
        lowers the error on the samples (after a refit it rarely does), everywhere, or nowhere.
    samples : int, default 1024
        Used at most.
    layers : mapping of str to float, optional
        Sparsities of nodes by name, in [0, 1), instead of one for all together; others lose
        nothing. For "second-order".
    preprocess : Preprocess, optional
        For raw samples (uint8); by default what the graph carries.
    seed : int, default 0
        Draws the samples.
    progress : bool or callable, default False
        True shows a bar; a callable gets ``(stage, done, total)``.

    Returns
    -------
    PrunedGraph
        The same for any number of threads.

    Raises
    ------
    ValueError
        If an argument is out of range, a pattern matches no layer, the network is quantized or has
        no layer to prune, or samples are needed and missing.
    DataError
        If there is no sample, a value is not finite, or a shape does not fit.

    References
    ----------
    .. [1] Frantar and Alistarh, "Optimal Brain Compression: A Framework for Accurate Post-Training
       Quantization and Pruning", NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> w = graph.add_constant("w", np.arange(16, dtype=np.float32).reshape(4, 4))
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "fc")])
    >>> samples = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    >>> done = tersor.compress.prune(graph, samples, 0.5)
    >>> int((np.asarray(done.graph.edges[1].constant) == 0).sum())
    8
    """
    cut = _check(graph, sparsity, structure, method, reestimate)
    if data is None and (method == "second-order" or reestimate == "always"):
        raise ValueError(
            "prune: data must be given for method 'second-order' and for reestimate 'always': an "
            "array of about 1,000 unlabeled samples, got None"
        )
    plain = float_twin(graph)
    todo = _named(plain, _layers(plain, exclude), layers) if layers else _layers(plain, exclude)
    batches: list[list[NDArray[Any]]] = []
    if data is not None:
        prepare = preprocess or Preprocess.parse(graph.preprocess or None)
        limit = min(samples, most_samples(plain))
        batches = list(
            network_batches(plain, data, prepare, limit=limit, seed=seed, batch_size=_BATCH)
        )
    with reporter(progress) as report:
        if method == "second-order":
            if layers:
                cuts = {name: replace(cut, sparsity=share) for name, share in layers.items()}
            else:
                cuts = _shares(plain, todo, batches, cut, report)
            done, rescaled = _prune_in_order(plain, todo, batches, cuts, None, reestimate, report)
        else:
            kept = _magnitude_masks(plain, todo, sparsity, structure, method)
            done, rescaled = _prune_in_order(plain, todo, batches, {}, kept, reestimate, report)
    out: Any = plain
    for node in plain.nodes:
        if node.name in done:
            layer = done[node.name]
            out.set_constant(node.inputs[1], layer.values)
            if layer.bias is not None:
                out.set_constant(node.inputs[2], layer.bias)
    result = Graph(out)
    result.preprocess = dict(graph.preprocess)
    return PrunedGraph(
        result,
        {name: layer.mask for name, layer in done.items()},
        {name: layer.error for name, layer in done.items()} if batches else {},
        rescaled,
        sum(len(batch[0]) for batch in batches),
    )


def _check(graph: object, sparsity: float, structure: str, method: str, reestimate: str) -> Cut:
    if not isinstance(graph, _core.graph.Graph):
        raise TypeError(f"prune: graph must be a tersor.Graph, got {type(graph).__name__}")
    if not 0 <= sparsity < 1:
        raise ValueError(f"prune: sparsity must be in [0, 1), got {sparsity}")
    check_choice(method, METHODS, "prune: method")
    check_choice(reestimate, REESTIMATE, "prune: reestimate")
    quantized = [e.name for e in graph.edges if e.qparams is not None]
    if quantized:
        raise ValueError(
            f"prune: graph must be a float network, got one with codes (edge {quantized[0]}): "
            "prune first, then quantize"
        )
    kind, first, second = parse_structure(structure, "prune: structure")
    if kind == "n:m":
        return Cut(sparsity, n_m=(first, second))
    return Cut(sparsity, block=(first, second))


def _layers(graph: Any, exclude: Sequence[str]) -> list[int]:
    """Nodes to prune."""
    edges, found = graph.edges, []
    for index, node in enumerate(graph.nodes):
        if node.op not in ("conv", "dense"):
            continue
        weight = edges[node.inputs[1]]
        shared = sum(node.inputs[1] in other.inputs for other in graph.nodes) > 1
        bias = len(node.inputs) < 3 or node.inputs[2] < 0 or edges[node.inputs[2]].is_constant
        plain = edges[node.inputs[0]].dtype == "float32" and weight.dtype == "float32"
        if weight.is_constant and plain and bias and not shared:
            found.append(index)
    names = [graph.nodes[i].name for i in found] + [
        edges[graph.nodes[i].inputs[1]].origin for i in found
    ]
    left = set(select_layers(names, exclude=exclude))
    kept = [
        i
        for i in found
        if graph.nodes[i].name in left and edges[graph.nodes[i].inputs[1]].origin in left
    ]
    if not kept:
        raise ValueError("prune: graph must have layers with weights to prune, got none")
    return kept


def _named(graph: Any, todo: list[int], layers: Mapping[str, float]) -> list[int]:
    """Those of the nodes that have a sparsity of their own."""
    unknown = set(layers) - {graph.nodes[i].name for i in todo}
    if unknown:
        raise ValueError(f"prune: layers must be ones with weights to prune, got {min(unknown)!r}")
    for name, share in layers.items():
        if not 0 <= share < 1:
            raise ValueError(f"prune: layers must be in [0, 1), got {name}: {share}")
    return [i for i in todo if layers.get(graph.nodes[i].name)]


def _shares(
    graph: Any, todo: list[int], batches: list[list[NDArray[Any]]], cut: Cut, report: Progress
) -> dict[str, Cut]:
    """What each layer loses, by its cost to the output of the network."""
    nodes, edges = graph.nodes, graph.edges
    if cut.n_m is not None:
        return {nodes[i].name: cut for i in todo}
    threads = get_threads()
    few = batches[: -(-_FEW // max(1, len(batches[0][0])))]
    walk, trial = Walk(graph, few, threads), Session(graph, threads)
    output = edges[graph.output_ids[0]].name
    exact = Session(graph, threads)
    wanted = np.concatenate([_first(exact(*batch)) for batch in few])
    curves: dict[tuple[str, int], NDArray[np.float64]] = {}
    effects: dict[tuple[str, int], float] = {}
    for count, index in enumerate(todo):
        report("sensitivity", count, len(todo))
        walk.advance(index)
        node = nodes[index]
        weight = edges[node.inputs[1]]
        w = np.asarray(weight.constant)
        groups = int(node.attributes.get("groups", 1))
        rows = w.reshape(groups, len(w) // groups, -1)
        moments = Moments(rows.shape[2], groups=groups, threads=threads)
        for known in walk.values:
            observe_layer(moments, node, w, known[edges[node.inputs[0]].name])
        trials, error = np.empty_like(rows), 0.0
        for g in range(groups):
            problem = normal_equations(moments, rows[g], group=g)
            order = cut.columns(w.shape)
            ordered = problem.hessian[np.ix_(order, order)]
            curve = removal_curve(rows[g][:, order], ordered, block=cut.block, threads=threads)
            curves[node.name, g] = curve
            # Any removal of about that size tells what an error counts; this one needs no search.
            scores = weight_activation_scores(rows[g], np.sqrt(np.diag(problem.hessian)))
            kept = np.empty(rows[g].shape, np.bool_)
            kept[:, order] = block_mask(
                rows[g][:, order], cut.sparsity, cut.block, scores=np.square(scores)[:, order]
            )
            done = prune_matrix(rows[g], problem.hessian, mask=kept, threads=threads)
            trials[g], error = done.values, error + done.error
        trial.update_weights(weight.name, trials.reshape(w.shape))
        shift = np.einsum("goc,gc->go", rows - trials, moments.input_mean).reshape(-1)
        _, bias = own_parameters(graph, node)
        if bias is not None:
            trial.update_weights(bias.name, np.float32(np.asarray(bias.constant) + shift))
        got = np.concatenate([trial.run_edges(known, [output])[output] for known in walk.values])
        effect = _difference(wanted, got) / max(error, 1e-30)
        effects |= {(node.name, g): effect for g in range(groups)}
        trial.update_weights(weight.name, w)
        if bias is not None:
            trial.update_weights(bias.name, bias.constant)
    report("sensitivity", len(todo), len(todo))
    units = {key: len(curve) - 1 for key, curve in curves.items()}
    total = round(cut.sparsity * sum(units.values()))
    counts = allocate_removals(curves, total, effects)
    shares: dict[str, list[float]] = {}
    for (name, _), count in counts.items():
        found = shares.setdefault(name, [])
        found.append(count / max(1, units[name, len(found)]))
    return {name: replace(cut, shares=tuple(found)) for name, found in shares.items()}


def _difference(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """What a change of the output counts: divergence of classes, else squared error."""
    if wanted.ndim == 2 and wanted.shape[1] > 1:
        return max(kl_divergence(wanted, got), 1e-12)
    power = max(float(np.square(wanted, dtype=np.float64).mean()), 1e-30)
    return max(float(np.square(wanted - got, dtype=np.float64).mean()) / power, 1e-12)


def _prune_in_order(
    graph: Any,
    todo: list[int],
    batches: list[list[NDArray[Any]]],
    cuts: dict[str, Cut],
    masks: dict[str, NDArray[np.bool_]] | None,
    reestimate: str,
    report: Progress,
) -> tuple[dict[str, PrunedLayer], dict[str, int]]:
    """Layer after layer; `masks` keeps the weights as they are."""
    threads = get_threads()
    done: dict[str, PrunedLayer] = {}
    rescaled: dict[str, int] = {}
    exact, changed = Walk(graph, batches, threads), Walk(graph, batches, threads)
    for count, index in enumerate(todo):
        report("prune", count, len(todo))
        node = graph.nodes[index]
        exact.advance(index)
        changed.advance(index)
        samples = LayerSamples(graph, index, exact, changed, threads)
        if masks is None:
            layer = prune_layer(samples, cuts[node.name], passes=_PASSES, threads=threads)
        else:
            mask = masks[node.name]
            layer = PrunedLayer(mask, np.where(mask, samples.weight.constant, 0), None, 0.0)
        if batches and reestimate != "never":
            layer, rescaled[node.name] = rescale_layer(
                samples, layer, always=reestimate == "always", threads=threads
            )
        changed.session.update_weights(samples.weight.name, layer.values)
        if layer.bias is not None and samples.bias is not None:
            changed.session.update_weights(samples.bias.name, layer.bias)
        done[node.name] = layer
    report("prune", len(todo), len(todo))
    return done, rescaled


def _magnitude_masks(
    graph: Any, todo: list[int], sparsity: float, structure: str, method: str
) -> dict[str, NDArray[np.bool_]]:
    """The largest weights, or blocks, of all layers together."""
    nodes = [graph.nodes[i] for i in todo]
    weights = {n.name: np.asarray(graph.edges[n.inputs[1]].constant) for n in nodes}
    scores = score_weights(weights, method if structure == "unstructured" else "magnitude")
    share = 1.0 if ":" in structure else sparsity  # n:m has its own
    return network_masks(weights, share, structure=structure, scores=scores)


def _first(output: Any) -> NDArray[Any]:
    return np.asarray(output[0] if isinstance(output, tuple) else output)


__all__ = ["PrunedGraph", "prune"]
