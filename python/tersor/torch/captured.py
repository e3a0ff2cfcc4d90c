"""A module as captured by torch.export beside its native graph, and which value is which edge."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..base.error import UnsupportedError
from ..graph.graph import Graph
from ..importers.torch import _eval_mode, _quiet, _root_cause, from_torch, open_batch
from ..runtime.session import Session

_TOLERANCE = 1e-3  # of a tensor's largest value; folding BatchNorm alone moves it by 1e-5


@dataclass
class Captured:
    """A module in both forms.

    Attributes
    ----------
    program : torch.fx.GraphModule
        Operators of ATen; weights have their names in the module.
    graph : Graph
        The same network, canonical.
    node_of : dict of int to torch.fx.Node
        By edge of `graph`: the node of `program` that computes its values.
    """

    program: fx.GraphModule
    graph: Graph
    node_of: dict[int, fx.Node]


def capture(module: nn.Module, examples: Sequence[torch.Tensor]) -> Captured:
    """Capture a module in evaluation mode and match its values with the edges of its graph.

    Values are compared on a twin with random weights, where no two tensors of a network are equal
    by chance (a new residual branch is often all zero).

    Parameters
    ----------
    module : torch.nn.Module
    examples : sequence of torch.Tensor

    Returns
    -------
    Captured

    Raises
    ------
    UnsupportedError
        torch.export cannot capture the module, or the importer cannot convert it.
    """
    twin = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        _randomise(twin, generator)
    examples = [
        torch.cat([e, e]) if e.dim() and e.shape[0] == 1 else e for e in (x.cpu() for x in examples)
    ]
    inputs = [
        torch.randn(e.shape, generator=generator).to(e.dtype) if e.is_floating_point() else e
        for e in examples
    ]
    program = _export(twin, inputs)
    graph = from_torch(twin, inputs)
    values = _values(program, inputs)
    node_of = _match(program, graph, values, inputs)
    return Captured(program, graph, node_of)


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    def normal(like: torch.Tensor, mean: float, deviation: float) -> None:
        like.copy_(torch.randn(like.shape, generator=generator) * deviation + mean)

    for layer in module.modules():
        own = dict(layer.named_parameters(recurse=False))
        variance = getattr(layer, "running_var", None)
        if isinstance(variance, torch.Tensor) and isinstance(layer.running_mean, torch.Tensor):
            variance.copy_(0.5 + torch.rand(variance.shape, generator=generator))
            normal(layer.running_mean, 0.0, 0.2)
        for name, parameter in own.items():
            if not parameter.is_floating_point():
                continue
            if parameter.dim() >= 2:
                fan_in = max(parameter[0].numel(), 1)
                normal(parameter, 0.0, (2 / fan_in) ** 0.5)
            elif name.startswith("weight"):
                normal(parameter, 1.0, 0.1)
            else:
                normal(parameter, 0.0, 0.2)


def _export(module: nn.Module, inputs: Sequence[torch.Tensor]) -> fx.GraphModule:
    shapes = open_batch(module, len(inputs))
    with _eval_mode(torch, module), _quiet():
        try:
            program = torch.export.export(module, tuple(inputs), dynamic_shapes=shapes)
        except Exception as error:
            raise UnsupportedError(
                f"prepare_qat: torch.export cannot capture {type(module).__name__}: "
                f"{_root_cause(error)}"
            ) from error
        try:
            return program.module(check_guards=False)
        except TypeError:  # before torch 2.9
            return program.module()


class _Recorder(fx.Interpreter):
    """Runs a program and keeps what every node computes."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__(program)
        self.values: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and n.op in ("call_function", "placeholder"):
            self.values[n] = result.detach().clone()
        return result


def _values(program: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> dict[fx.Node, torch.Tensor]:
    recorder = _Recorder(program)
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


def _match(
    program: fx.GraphModule,
    graph: Graph,
    values: Mapping[fx.Node, torch.Tensor],
    inputs: Sequence[torch.Tensor],
) -> dict[int, fx.Node]:
    edges = graph.edges
    outputs = [node.outputs[0] for node in graph.nodes]
    given = {edges[i].name: x.numpy() for i, x in zip(graph.input_ids, inputs, strict=True)}
    names = [edges[i].name for i in outputs if not edges[i].is_constant]
    truth = Session(graph, threads=1).run_edges(given, names)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    node_of = dict(zip(graph.input_ids, placeholders, strict=False))
    used = set(node_of.values())
    by_shape: dict[tuple[int, ...], list[fx.Node]] = {}
    arrays: dict[fx.Node, np.ndarray[Any, Any]] = {}
    for node, value in values.items():
        if value.is_floating_point():
            by_shape.setdefault(tuple(value.shape), []).append(node)
            arrays[node] = value.float().numpy()
    before = _ancestors(program)
    for native in graph.nodes:
        edge = native.outputs[0]
        expected = truth.get(edges[edge].name)
        if expected is None:
            continue
        needed = {node_of[i] for i in native.inputs if i in node_of}
        for candidate in by_shape.get(expected.shape, []):
            if candidate in used or not needed <= before[candidate]:
                continue
            if _equal(arrays[candidate], expected):
                node_of[edge] = candidate
                used.add(candidate)
                break
    return node_of


def _ancestors(program: fx.GraphModule) -> dict[fx.Node, set[fx.Node]]:
    before: dict[fx.Node, set[fx.Node]] = {}
    for node in program.graph.nodes:
        before[node] = {node}.union(*(before[n] for n in node.all_input_nodes))
    return before


def _equal(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.size == 0 or not np.isfinite(b).all():
        return False
    largest = float(np.abs(b).max())
    return float(np.abs(a - b).max()) <= _TOLERANCE * largest


def region(node: fx.Node, ends: Callable[[fx.Node], bool]) -> Iterator[fx.Node]:
    """Yield what lies between a node and those before it at which `ends` says so.

    Parameters
    ----------
    node : torch.fx.Node
        Comes first.
    ends : callable

    Yields
    ------
    torch.fx.Node
    """
    seen, queue = {node}, [node]
    while queue:
        current = queue.pop()
        yield current
        for before in current.all_input_nodes:
            if before not in seen and before.op == "call_function" and not ends(before):
                seen.add(before)
                queue.append(before)


__all__ = ["Captured", "capture", "region"]
