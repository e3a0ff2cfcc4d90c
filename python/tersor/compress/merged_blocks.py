"""Residual blocks that become one convolution each, fitted to what the block gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.threads import get_threads
from ..data.preprocess import Preprocess
from ..graph import Graph
from .calibrate import Progress, network_batches
from .float_twin import float_twin
from .refit import refit_network

_SAMPLES = 1024


@dataclass(frozen=True)
class Block:
    """Convolutions one behind the other, and the sum of what they and a shortcut give.

    Attributes
    ----------
    name : str
        Of the sum's node.
    chain : tuple of int
        Nodes of the convolutions, in order.
    shortcut : tuple of int
        Nodes between the block's input and the sum beside them.
    total : int
        Node of the sum.
    like : int
        The convolution whose kernel, stride and padding the merged one takes.
    """

    name: str
    chain: tuple[int, ...]
    shortcut: tuple[int, ...]
    total: int
    like: int


def find_blocks(graph: Any) -> dict[str, Block]:
    """Find the blocks of a network that one convolution each can stand for, with fewer MACs.

    A block has one input, from which two or more ungrouped convolutions and a shortcut (nothing, a
    convolution, slices, padding) lead to a sum; nothing else reads what lies between. All but one
    of the convolutions keep the size of images.

    Parameters
    ----------
    graph : Graph
        Float, canonical.

    Returns
    -------
    dict of str to Block
        By the name of the sum, in the order of execution.
    """
    makers = {out: i for i, node in enumerate(graph.nodes) for out in node.outputs}
    readers: dict[int, int] = dict.fromkeys(graph.output_ids, 2)  # read outside too
    for node in graph.nodes:
        for edge in node.inputs:
            readers[edge] = readers.get(edge, 0) + 1
    found = {}
    for i, node in enumerate(graph.nodes):
        if node.op != "add" or len(node.inputs) != 2:
            continue
        for one, other in (node.inputs, node.inputs[::-1]):
            block = _block(graph, makers, readers, i, one, other)
            if block is not None:
                found[node.name] = block
                break
    return found


def _block(
    graph: Any, makers: dict[int, int], readers: dict[int, int], total: int, one: int, other: int
) -> Block | None:
    """The block of a sum, whose chain ends at `one` and whose shortcut ends at `other`."""
    beside = _way_up(graph, makers, readers, other)
    places = {edge: n for n, edge in enumerate(beside.edges)}
    chain: list[int] = []
    edge = one
    while edge not in places:
        node = makers.get(edge)
        if node is None or readers.get(edge, 0) != 1 or not _is_plain_conv(graph, node):
            return None
        if not chain and graph.nodes[node].attributes.get("activation", "none") != "none":
            return None
        chain.insert(0, node)
        edge = graph.nodes[node].inputs[0]
    if len(chain) < 2:
        return None
    shaping = [i for i in chain if not _keeps_size(graph, i)]
    like = shaping[0] if shaping else max(chain, key=lambda i: _taps(graph, i))
    if len(shaping) > 1 or _taps(graph, like) < max(_taps(graph, i) for i in chain):
        return None
    shortcut = tuple(beside.nodes[: places[edge]][::-1])
    block = Block(graph.nodes[total].name, tuple(chain), shortcut, total, like)
    before = sum(graph.macs_of(i) for i in (*chain, *shortcut))
    shape = graph.edges[graph.nodes[total].outputs[0]].shape
    wide = graph.edges[graph.nodes[chain[0]].inputs[0]].shape[1]
    after = wide * int(np.prod(shape[1:])) * _taps(graph, like)
    return block if after < before else None


@dataclass(frozen=True)
class _Way:
    edges: list[int]
    nodes: list[int]


def _way_up(graph: Any, makers: dict[int, int], readers: dict[int, int], edge: int) -> _Way:
    """Edges from one up to the first that others read, which is among them, and their makers."""
    way = _Way([edge], [])
    while readers.get(edge, 0) == 1 and edge in makers:
        node = graph.nodes[makers[edge]]
        inputs = [i for i in node.inputs if i >= 0 and not graph.edges[i].is_constant]
        if len(inputs) != 1 or len(node.outputs) != 1:
            break
        way.nodes.append(makers[edge])
        edge = inputs[0]
        way.edges.append(edge)
    return way


def _is_plain_conv(graph: Any, index: int) -> bool:
    node = graph.nodes[index]
    if node.op != "conv" or node.attributes.get("groups", 1) != 1:
        return False
    parameters = [graph.edges[i] for i in node.inputs[1:] if i >= 0]
    return len(parameters) == 2 and all(e.is_constant and e.dtype == "float32" for e in parameters)


def _keeps_size(graph: Any, index: int) -> bool:
    node = graph.nodes[index]
    before, after = (graph.edges[i].shape[2:] for i in (node.inputs[0], node.outputs[0]))
    strides = node.attributes.get("strides") or [1]
    return list(before) == list(after) and all(stride == 1 for stride in strides)


def _taps(graph: Any, index: int) -> int:
    return int(np.prod(graph.edges[graph.nodes[index].inputs[1]].shape[2:]))


Weights = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def merge_blocks(graph: Any, names: Iterable[str], weights: Weights | None = None) -> Graph:
    """Build the network with one convolution in the place of every block that is named.

    It has the name of the block's last one. Without weights it passes the block's input on, as far
    as channels and sizes agree: fit it before use (:func:`tersor.compress.refit.refit_network`).

    Parameters
    ----------
    graph : Graph
        Float, canonical. It is not changed.
    names : iterable of str
        Of sums: keys of :func:`find_blocks`.
    weights : mapping of str to (ndarray, ndarray), optional
        Weight and bias of the convolutions, by the names of the sums.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If a name is no block's.
    """
    known = find_blocks(graph)
    wanted = list(names)
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"recipe: merged must be sums of blocks of convolutions ({', '.join(known)}), got "
                f"{name!r}"
            )
    blocks = [known[name] for name in wanted]
    merged = {block.chain[-1]: block for block in blocks}
    gone = {i for b in blocks for i in (*b.chain, *b.shortcut, b.total)}
    small = Graph()
    edges = graph.edges
    ids: dict[int, int] = {-1: -1}

    def edge_of(i: int) -> int:
        if i not in ids:
            ids[i] = small.add_constant(edges[i].name, edges[i].constant, edges[i].origin)
        return ids[i]

    for i in graph.input_ids:
        ids[i] = small.add_input(edges[i].name, edges[i].dtype, edges[i].shape)
    for i, node in enumerate(graph.nodes):
        if i in merged:
            block = merged[i]
            out = graph.nodes[block.total].outputs[0]
            first, like = graph.nodes[block.chain[0]], graph.nodes[block.like]
            attributes = dict(like.attributes)
            after = graph.nodes[block.total].attributes.get("activation", "none")
            attributes["activation"] = after
            weight, bias = (edges[k] for k in node.inputs[1:])
            w, b = (weights or {}).get(block.name) or _identity(graph, block)
            inputs = [
                edge_of(first.inputs[0]),
                small.add_constant(weight.name, w, weight.origin),
                small.add_constant(bias.name, b, bias.origin),
            ]
            ids[out] = small.add_node("conv", inputs, attributes, node.name, edges[out].name)
        elif i not in gone:
            inputs = [edge_of(k) for k in node.inputs]
            out = node.outputs[0]
            ids[out] = small.add_node(
                node.op, inputs, dict(node.attributes), node.name, edges[out].name
            )
    small.set_outputs([ids[i] for i in graph.output_ids])
    small.preprocess = dict(getattr(graph, "preprocess", None) or {})
    return small


def _identity(graph: Any, block: Block) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias that pass the input on."""
    first, last = (graph.nodes[i] for i in (block.chain[0], block.chain[-1]))
    wide = graph.edges[first.inputs[0]].shape[1]
    high = graph.edges[last.outputs[0]].shape[1]
    kernel = graph.edges[graph.nodes[block.like].inputs[1]].shape[2:]
    weight = np.zeros((high, wide, *kernel), np.float32)
    middle = int(np.ravel_multi_index([k // 2 for k in kernel], kernel))
    for c in range(min(high, wide)):
        weight[c, c].flat[middle] = 1.0
    return weight, np.zeros(high, np.float32)


def without_blocks(
    graph: Graph,
    names: Iterable[str],
    data: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
) -> Graph:
    """Merge blocks and fit what is left to what the whole network gives.

    Parameters
    ----------
    graph : Graph
        Float. Not changed.
    names : iterable of str
        Of the blocks' sums, in the network with BatchNorm folded.
    data : object
        Unlabeled samples.
    preprocess : Preprocess or None
    seed : int
    report : callable

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If a name is no block's.
    """
    whole = float_twin(graph)
    small = merge_blocks(whole, names)
    batches = list(network_batches(whole, data, preprocess, limit=_SAMPLES, seed=seed))
    refit_network(whole, small, {}, batches, threads=get_threads(), progress=report)
    small.preprocess = dict(graph.preprocess)
    return small


__all__ = ["Block", "find_blocks", "merge_blocks", "without_blocks"]
