"""The network that is trained: a captured program with quantizers, and its way back."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..base.error import UnsupportedError
from ..compress.qat_scheme import Scheme
from ..compress.trained_graph import TrainedLayer, trained_graph
from ..graph.graph import Graph
from .captured import capture
from .fake_quantize import ActivationQuantizer
from .network_module import NetworkModule
from .prepared_module import META
from .qat_placement import place
from .quantized_layer import QuantizedLayer


@dataclass
class Network:
    """What a prepared module remembers.

    Attributes
    ----------
    template : torch.nn.Module
        The plain module.
    examples : tuple of torch.Tensor
    scheme : Scheme
    root : str
        Name of the module that holds the quantizers.
    groups : dict of int to str
        Group of the placement -> name of its quantizer.
    layers : dict of str to (str, tuple)
        Native node -> name of its layer, and the names of its tensors, None where it has none.
    operators : list of str
        Of all native nodes, to recognise the graph.
    """

    template: nn.Module
    examples: tuple[torch.Tensor, ...]
    scheme: Scheme
    root: str
    groups: dict[int, str] = field(default_factory=dict)
    layers: dict[str, tuple[str, tuple[str | None, ...]]] = field(default_factory=dict)
    operators: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def build(
        cls, module: nn.Module, examples: tuple[torch.Tensor, ...], scheme: Scheme
    ) -> fx.GraphModule:
        """Capture a module and put the quantizers in.

        Parameters
        ----------
        module : torch.nn.Module
        examples : tuple of torch.Tensor
        scheme : Scheme

        Returns
        -------
        torch.fx.GraphModule
        """
        from .qat_builder import Builder

        template = copy.deepcopy(module)
        for part in template.modules():
            if isinstance(part, NetworkModule):  # the quantizers take over
                part.rounds_activations = False
        captured = capture(template, examples)
        placement, scheme = place(captured, scheme, type(module).__name__)
        network = cls(
            template,
            tuple(e.detach().clone() for e in examples),
            scheme,
            _free_name(module, "qat"),
            operators=[(node.op, node.name) for node in captured.graph.nodes],
        )
        prepared = Builder(network, captured, placement).run()
        prepared.meta[META] = network
        prepared.train(module.training)
        _check(prepared, template, examples)
        return prepared

    def plain(self, prepared: nn.Module) -> nn.Module:
        """Return a copy of the plain module with the prepared one's weights."""
        module = copy.deepcopy(self.template)
        own = module.state_dict()
        trained = prepared.state_dict()
        module.load_state_dict({name: trained[name] for name in own})
        return module.eval()

    def to_graph(self, prepared: nn.Module, *, dynamic_batch: bool = True) -> Graph:
        """Convert to an int8 graph with exactly the trained parameters.

        Parameters
        ----------
        prepared : torch.nn.Module
        dynamic_batch : bool

        Returns
        -------
        Graph
        """
        from ..importers.torch import from_torch

        prepared = unwrapped(prepared)
        graph = from_torch(
            self.plain(prepared).cpu(),
            tuple(e.cpu() for e in self.examples),
            dynamic_batch=dynamic_batch,
        )
        if [(node.op, node.name) for node in graph.nodes] != self.operators:
            raise UnsupportedError(
                "from_torch: the prepared network must import like the plain one did; its "
                "operators changed with the weights"
            )
        groups = {}
        for index, name in self.groups.items():
            quantizer = prepared.get_submodule(name)
            assert isinstance(quantizer, ActivationQuantizer)
            groups[index] = quantizer.qparams()
        layers = {
            name: _trained(prepared, layer, tensors)
            for name, (layer, tensors) in self.layers.items()
        }
        return trained_graph(graph, self.scheme, groups, layers)


def _trained(prepared: nn.Module, name: str, tensors: Sequence[str | None]) -> TrainedLayer:
    layer = prepared.get_submodule(name)
    assert isinstance(layer, QuantizedLayer)
    with torch.no_grad():
        values = [None if t is None else _tensor(prepared, t) for t in tensors]
        weight, bias = layer.folded(*values)
        codes, scale, bias_codes = layer.integers(weight, bias)
    quantizer = layer.weight_quantizer
    return TrainedLayer(
        weight.detach().cpu().numpy(),
        None if bias is None else bias.detach().cpu().numpy(),
        codes.cpu().numpy().astype(np.int8),
        scale.cpu().numpy(),
        quantizer.bits,
        None if quantizer.channels is None else quantizer.axis,
        None if bias_codes is None else bias_codes.cpu().numpy().astype(np.int32),
    )


def _tensor(module: nn.Module, name: str) -> torch.Tensor:
    path, _, last = name.rpartition(".")
    value: torch.Tensor = getattr(module.get_submodule(path), last)
    return value


def _free_name(module: nn.Module, wanted: str) -> str:
    name, number = wanted, 0
    while hasattr(module, name):
        number += 1
        name = f"{wanted}_{number}"
    return name


def _check(prepared: fx.GraphModule, template: nn.Module, examples: Sequence[torch.Tensor]) -> None:
    """Compare the networks without rounding: a last guard against a wrong correspondence."""
    from .qat import set_qat_phase

    modes = [(m, m.training) for net in (prepared, template) for m in net.modules()]
    set_qat_phase(prepared, "observe")
    prepared.eval()
    template.eval()
    try:
        with torch.no_grad():
            ours, theirs = list(_tensors(prepared(*examples))), list(_tensors(template(*examples)))
    finally:
        for module, training in modes:
            module.training = training
        set_qat_phase(prepared, "quantize")
    for a, b in zip(ours, theirs, strict=True):
        if b.is_floating_point():
            largest = float(b.abs().max()) if b.numel() else 0.0
            error = float((a - b).abs().max()) if b.numel() else 0.0
            if not error <= 1e-3 * largest + 1e-6:
                raise UnsupportedError(
                    f"prepare_qat: the captured {type(template).__name__} must compute what the "
                    f"module does, got outputs that differ by {error:.3g}"
                )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    yield from (
        leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)
    )


def unwrapped(module: nn.Module) -> nn.Module:
    """Return what torch.compile or DistributedDataParallel wraps.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
    """
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner


def network_of(module: nn.Module) -> Network | None:
    """Return what a prepared module remembers, or None.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    Network or None
    """
    meta = getattr(unwrapped(module), "meta", None)
    found = meta.get(META) if isinstance(meta, dict) else None
    return found if isinstance(found, Network) else None


__all__ = ["Network", "network_of", "unwrapped"]
