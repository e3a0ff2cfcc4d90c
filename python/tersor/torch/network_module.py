"""A network, compressed or not, as a ``torch.nn.Module``."""

from __future__ import annotations

import operator
import re
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..quantization import dequantize
from .network_operators import ACTIVATIONS, OPERATORS


class _Rounding(nn.Module):
    """Values on the grid of an edge that is quantized; gradients pass where nothing is cut."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, q: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(float(q.scale[0])))
        self.register_buffer("zero_point", torch.tensor(float(q.zero_point[0])))
        self.code_min, self.code_max = int(q.code_min), int(q.code_max)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = (self.code_min - self.zero_point) * self.scale
        high = (self.code_max - self.zero_point) * self.scale
        inside = torch.minimum(torch.maximum(x, low), high)
        codes = torch.round(inside / self.scale)
        return inside + (codes * self.scale - inside).detach()


class _RowRounding(nn.Module):
    """Each row on a grid of its own, as a dense layer with dynamic int8 input has it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = x.amin(-1, keepdim=True).clamp(max=0)
        high = x.amax(-1, keepdim=True).clamp(min=0)
        scale = ((high - low) / 255).clamp(min=2.0**-126)
        scale = torch.where(high > low, scale, torch.ones_like(scale))
        zero = torch.round(-128 - low / scale).clamp(-128, 127)
        codes = (torch.round(x / scale) + zero).clamp(-128, 127)
        return x + ((codes - zero) * scale - x).detach()


class _Call(NamedTuple):
    """One node, as plain data: modules are copied and pickled."""

    op: str
    attributes: dict[str, Any]
    inputs: list[int]
    output: int


class NetworkModule(nn.Module):
    """A native graph run by PyTorch.

    Weights are parameters with the values that the session computes with: those of quantized
    weights are dequantized. Quantized activations are rounded to their grid in float
    (fake-quantized), with gradients that pass straight through.

    Parameters
    ----------
    network : Graph or CompressedModel

    Attributes
    ----------
    input_names : list of str
        Of the network; :func:`tersor.from_torch` gives them to its graph.
    rounds_activations : bool
        Whether quantized activations are rounded; False makes it the float network with the weights
        of the quantized one, which :func:`tersor.from_torch` can convert.
    origins : dict of str to str
        Name of each parameter in the source framework, by its name here: the same, with the
        characters that PyTorch does not allow replaced.

    Raises
    ------
    ValueError
        If the graph has an operator that PyTorch has not.

    Examples
    --------
    >>> import numpy as np, torch, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 2))
    >>> w = graph.add_constant("fc.weight", np.eye(2, dtype=np.float32))
    >>> graph.set_outputs([graph.add_node("dense", [x, w])])
    >>> module = NetworkModule(graph)
    >>> module(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]], grad_fn=<MmBackward0>)
    >>> [name for name, _ in module.named_parameters()]
    ['fc.weight']
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        graph = getattr(network, "graph", network)
        edges = graph.edges
        self._calls = [
            _Call(n.op, dict(n.attributes), list(n.inputs), n.outputs[0]) for n in graph.nodes
        ]
        self._input_ids, self._output_ids = list(graph.input_ids), list(graph.output_ids)
        self.input_names = [edges[i].name for i in graph.input_ids]
        self.origins: dict[str, str] = {}
        self._names: dict[int, str] = {}
        for call in self._calls:
            if call.op not in OPERATORS:
                raise ValueError(f"to_torch: operator must be one that PyTorch has, got {call.op}")
        weights = {i for call in self._calls for i in call.inputs[1:3] if call.op != "gather"}
        for index, edge in enumerate(edges):
            if edge.is_constant:
                self._add_constant(index, edge, trainable=index in weights)
        self._roundings = nn.ModuleDict(
            {
                str(call.output): _Rounding(edges[call.output].qparams)
                for call in self._calls
                if edges[call.output].qparams is not None
            }
        )
        self._rows = _RowRounding()
        dynamic = any(call.attributes.get("dynamic") for call in self._calls)
        self.rounds_activations = bool(self._roundings) or dynamic

    def _add_constant(self, index: int, edge: Any, *, trainable: bool) -> None:
        values = np.array(edge.constant)
        if edge.qparams is not None:
            values = _reals(values, edge.qparams)
        elif edge.dtype in ("float16", "bfloat16"):
            values = values.astype(np.float32)
        tensor = torch.from_numpy(values)
        owner, name = self._place(edge.origin or edge.name, index)
        if tensor.is_floating_point() and trainable:
            owner.register_parameter(name, nn.Parameter(tensor))
        else:
            owner.register_buffer(name, tensor)

    def _place(self, origin: str, index: int) -> tuple[nn.Module, str]:
        """Return the module and the free name in it that stand for a parameter's name."""
        parts = [re.sub(r"\W", "_", part) or "_" for part in origin.split(".")]
        owner: nn.Module = self
        for part in parts[:-1]:
            child = getattr(owner, part, None)
            if child is None:
                child = nn.Module()
                owner.add_module(part, child)
            if type(child) is not nn.Module:  # taken by something else: one flat name
                owner, parts = self, ["_".join(parts)]
                break
            owner = child
        name, tries = parts[-1], 1
        while hasattr(owner, name):
            tries += 1
            name = f"{parts[-1]}_{tries}"
        full = ".".join([*parts[:-1], name])
        self.origins[full] = origin
        self._names[index] = full
        return owner, name

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the network; inputs and outputs as the session's.

        Parameters
        ----------
        *inputs : torch.Tensor

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
        """
        if len(inputs) != len(self._input_ids):
            raise ValueError(
                f"to_torch: inputs must be {len(self._input_ids)} tensors, got {len(inputs)}"
            )
        values: dict[int, Any] = dict(zip(self._input_ids, inputs, strict=True))
        for index, name in self._names.items():
            values[index] = operator.attrgetter(name)(self)
        for call in self._calls:
            x = [values[i] if i >= 0 else None for i in call.inputs]
            if self.rounds_activations and call.attributes.get("dynamic"):
                x[0] = self._rows(x[0])
            y = OPERATORS[call.op](call.attributes, *x)
            y = ACTIVATIONS[call.attributes.get("activation", "none")](y)
            key = str(call.output)
            rounds = self.rounds_activations and key in self._roundings
            values[call.output] = self._roundings[key](y) if rounds else y
        outputs = tuple(values[i] for i in self._output_ids)
        return outputs[0] if len(outputs) == 1 else outputs


def _reals(codes: np.ndarray[Any, Any], q: Any) -> np.ndarray[Any, Any]:
    if codes.dtype != np.int32:
        return np.asarray(dequantize(codes, q))
    scale = q.scale.reshape(-1, *[1] * (codes.ndim - 1)) if len(q.scale) > 1 else q.scale
    return np.asarray(codes.astype(np.float64) * scale, np.float32)


def to_torch(network: Any) -> NetworkModule:
    """Give a network as a PyTorch module, for further use in a pipeline.

    Parameters
    ----------
    network : Graph or CompressedModel

    Returns
    -------
    NetworkModule
        In training mode as any new module; it has no layer that behaves otherwise in evaluation.

    Raises
    ------
    ValueError
        If the graph has an operator that PyTorch has not.
    TypeError
        If `network` is no network.

    Examples
    --------
    >>> import tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 2))
    >>> graph.set_outputs([graph.add_node("relu", [x])])
    >>> to_torch(graph)(torch.tensor([[-1.0, 2.0]]))
    tensor([[0., 2.]])
    """
    if not hasattr(getattr(network, "graph", network), "input_ids"):
        raise TypeError(
            f"to_torch: network must be a Graph or CompressedModel, got {type(network).__name__}"
        )
    return NetworkModule(network)


__all__ = ["NetworkModule", "to_torch"]
