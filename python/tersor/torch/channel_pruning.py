"""A smaller plain module: channels removed from its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..base.error import UnsupportedError
from ..base.threads import get_threads
from ..compress.channel_criteria import (
    criterion_batches,
    find_units,
    layers_behind,
    rank_units,
    same_outputs,
    scores_by_node,
)
from ..compress.channels import budget_of, choose_units
from ..compress.removal_order import LAYERS
from ..graph import Graph
from ..graph.channels import remove_channels
from ..importers.torch import from_torch

CRITERIA = ("bn_gamma", "l1", "l2", "taylor", "activation")
# Their attributes hold numbers of channels that a module's code may have written out.
_WRITTEN_OUT = ("pad", "slice", "reshape")


def prune_channels(
    module: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    *,
    macs: float | None = None,
    parameters: float | None = None,
    latency: float | None = None,
    keep: float | None = None,
    criterion: str = "l2",
    scores: Mapping[str, Any] | None = None,
    data: Any = None,
    multiple: int = 1,
    exclude: Sequence[str] = (),
) -> nn.Module:
    """Return a smaller plain module to train on.

    Channels are followed through the captured network as :func:`tersor.compress.prune_channels`
    does it: residual sums, concatenation, gates, depthwise and grouped convolutions. The result is
    a copy of the module with smaller weights and buffers, of the same classes; it has run, and
    gives what the network without the channels gives. Where the module's code has numbers of
    channels written out (zero-padded shortcuts), the channels that this concerns stay.

    Parameters
    ----------
    module : torch.nn.Module
        Not changed.
    example : torch.Tensor or sequence of torch.Tensor
        Positional arguments of a call, batch first.
    macs, parameters, latency, keep : float, optional
        Exactly one, see :func:`tersor.compress.prune_channels`. Latency is that of a
        :class:`tersor.Session` here.
    criterion : {"bn_gamma", "l1", "l2", "taylor", "activation"}
        "bn_gamma": absolute gamma of the BatchNorm behind a layer (Network Slimming);
        "taylor": ``|sum(w * gradient)|`` of a filter, from the gradients that the parameters have
        now; "activation": the error that is left in the layers that read a channel, on `data`.
    scores : mapping of str to array-like, optional
        Instead: by name of a module, a number per output channel; low ones go first.
    data : array, optional
        Unlabeled inputs, for "activation".
    multiple : int, default 1
        Widths that shrink are rounded to it, where the network allows it.
    exclude : sequence of str
        Patterns of modules whose output channels stay.

    Returns
    -------
    torch.nn.Module
        On the same device and in the same mode, without gradients.

    Raises
    ------
    UnsupportedError
        The module cannot be captured, or does not run with fewer channels.
    ValueError
        If not exactly one budget is given, one cannot be reached, or scores are missing.

    References
    ----------
    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017;
    Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019.

    Examples
    --------
    >>> small = prune_channels(module, torch.randn(1, 3, 32, 32), macs=0.5)    # doctest: +SKIP
    """
    budget = budget_of(macs=macs, parameters=parameters, latency=latency, keep=keep)
    if criterion not in CRITERIA:
        raise ValueError(f"prune_channels: criterion must be one of {CRITERIA}, got {criterion!r}")
    examples = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    template = copy.deepcopy(module).cpu().float().eval()
    inputs = tuple(e.detach().cpu() for e in examples)
    graph = from_torch(template, inputs, canonicalize=False)
    known = None if scores is None else scores_by_node(graph, scores, ".")
    if known is None and criterion == "taylor":
        known = _taylor(module, graph)
    array = data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else data
    batches = [] if known is not None else criterion_batches(graph, criterion, array)
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    reasons = []
    for written_out in (False, True):
        channels = find_units(graph, patterns)
        if written_out:
            fixed = layers_behind(graph, channels, _WRITTEN_OUT)
            if not fixed:
                break
            channels = find_units(graph, [*patterns, *fixed])
        threads = get_threads()
        orders = rank_units(
            graph, channels, criterion, scores=known, batches=batches, threads=threads
        )
        mask = choose_units(graph, channels, orders, budget, multiple, threads)
        small = remove_channels(graph, channels, mask)
        try:
            return _rebuilt(module, template, graph, small, inputs)
        except (RuntimeError, UnsupportedError) as error:
            reasons.append(str(error).splitlines()[0])
    raise UnsupportedError(
        f"prune_channels: {type(module).__name__} must run with fewer channels, got: {reasons[-1]}"
    )


def _taylor(module: nn.Module, graph: Graph) -> dict[str, NDArray[np.float64]]:
    """Share of ``|sum(w * gradient)|`` of every filter in its layer."""
    parameters, found = dict(module.named_parameters()), {}
    for node in graph.nodes:
        name = graph.edges[node.inputs[1]].origin if node.op in LAYERS else ""
        weight = parameters.get(name)
        if weight is None:
            continue
        if weight.grad is None:
            raise ValueError(
                f"prune_channels: module must have gradients for 'taylor' (run a loss backward), "
                f"got none for {name}"
            )
        product = (weight.detach() * weight.grad).double().cpu()
        axis = 1 if node.op == "conv_transpose" else 0
        rows = product.transpose(0, axis).flatten(1).sum(dim=1).abs()
        found[node.name] = np.asarray(rows / max(float(rows.sum()), 1e-300))
    return found


def _rebuilt(
    module: nn.Module,
    template: nn.Module,
    graph: Graph,
    small: Graph,
    inputs: tuple[torch.Tensor, ...],
) -> nn.Module:
    """A copy of the module with the smaller graph's constants, checked against that graph."""
    result = copy.deepcopy(module)
    result.zero_grad(set_to_none=True)
    shapes: dict[str, tuple[int, ...]] = {}
    state = template.state_dict(keep_vars=True)
    whole = {edge.origin: edge for edge in graph.edges if edge.is_constant}
    for edge in small.edges:
        if not edge.is_constant or edge.origin not in state:
            continue
        if shapes.setdefault(edge.origin, tuple(edge.shape)) != tuple(edge.shape):
            raise UnsupportedError(
                f"{edge.origin} is used by layers that would keep different channels"
            )
        if tuple(edge.shape) != tuple(whole[edge.origin].shape):
            value = _as_parameter(edge, whole[edge.origin], state[edge.origin])
            _replace(result, edge.origin, value)
    for node in small.nodes:
        if node.op in ("conv", "conv_transpose"):
            name = small.edges[node.inputs[1]].origin.rpartition(".")[0]
            layer = dict(result.named_modules()).get(name)
            if isinstance(layer, nn.modules.conv._ConvNd):
                layer.groups = int(node.attributes["groups"])
    for layer in result.modules():
        _settle(layer)
    trial = copy.deepcopy(result).cpu().float().eval()
    with torch.no_grad():
        got = trial(*inputs)
    outputs = [y.numpy() for y in torch.utils._pytree.tree_leaves(got)]
    if not same_outputs(outputs, small, [x.numpy() for x in inputs]):
        raise UnsupportedError("its outputs differ from those of the network without channels")
    return result


def _as_parameter(edge: Any, before: Any, parameter: torch.Tensor) -> NDArray[Any]:
    """A constant in the form that the module has it in: slopes of PReLU gained axes."""
    value, form = np.asarray(edge.constant), tuple(parameter.shape)
    if tuple(before.shape) == form:
        return value
    if len(form) == 1 and parameter.numel() == np.prod(before.shape):
        return value.reshape(-1)
    if tuple(before.shape) == form[::-1] and np.array_equal(
        np.asarray(before.constant).T, parameter.detach().numpy()
    ):
        return np.ascontiguousarray(value.T)
    raise UnsupportedError(f"{edge.origin} has another form in the captured network")


def _replace(module: nn.Module, name: str, value: NDArray[Any]) -> None:
    path, _, own = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, own)
    tensor = torch.from_numpy(np.array(value)).to(old.device, old.dtype)
    if isinstance(old, nn.Parameter):
        owner.register_parameter(own, nn.Parameter(tensor, old.requires_grad))
    else:
        owner.register_buffer(own, tensor, own not in owner._non_persistent_buffers_set)


def _settle(layer: nn.Module) -> None:
    """Let the numbers that a layer holds follow its weight."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        a, b = layer.weight.shape[:2]
        if layer.transposed:
            layer.in_channels, layer.out_channels = a, b * layer.groups
        else:
            layer.in_channels, layer.out_channels = b * layer.groups, a
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        tensor = layer.running_mean if layer.running_mean is not None else layer.weight
        if tensor is not None:
            layer.num_features = len(tensor)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.numel()


__all__ = ["CRITERIA", "prune_channels"]
