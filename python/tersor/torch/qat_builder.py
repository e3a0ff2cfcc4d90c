"""Puts quantizers, layers and operators of an int8 network into a captured program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..base.error import UnsupportedError
from ..compress.trained_graph import LAYERS, weight_form
from ..pruning.network_masks import is_pruned
from .captured import Captured, region
from .fake_quantize import ActivationQuantizer, WeightQuantizer
from .prepared_module import PreparedModule
from .qat_network import Network
from .quantized_layer import Norm, QuantizedLayer
from .quantized_operator import OPERATORS, QuantizedOperator

_aten = torch.ops.aten
_LINEAR = {
    _aten.conv1d.default,
    _aten.conv2d.default,
    _aten.conv3d.default,
    _aten.conv1d.padding,
    _aten.conv2d.padding,
    _aten.conv3d.padding,
    _aten.convolution.default,
    _aten.conv_transpose1d.default,
    _aten.conv_transpose2d.input,
    _aten.conv_transpose3d.input,
    _aten.linear.default,
}
_NORM = _aten.batch_norm.default
_DROPOUT = {
    _aten.dropout.default,
    _aten.feature_dropout.default,
    _aten.alpha_dropout.default,
    _aten.dropout_.default,
}
# Between a layer's ends: what the native node holds as padding or activation, or what keeps values.
_HARMLESS = {
    "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min",
    "pad", "constant_pad_nd", "contiguous", "clone", "alias", "detach", "to", "_to_copy", "view",
    "reshape", "flatten", "squeeze", "unsqueeze", "sym_size", "add", "permute", "transpose",
}  # fmt: skip

_SUMS = {_aten.add.Tensor, _aten.add_.Tensor}  # of tensors, not of sizes
_OWNERS = ("edges", "layers", "operators", "literals")  # children of the module of quantizers


class NormLayer(nn.Module):
    """BatchNorm between float nodes, with its training behaviour.

    Parameters
    ----------
    norm : Norm
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm = norm

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalise; in training by the batch, whose statistics move `mean` and `variance`."""
        momentum = self.norm.share_of(count) if self.training else 0.0
        return F.batch_norm(
            x, mean, variance, weight, bias, self.training, momentum, self.norm.epsilon
        )


class Builder:
    """One use: ``Builder(network, captured, placement).run()``.

    Parameters
    ----------
    network : Network
        Gets the names of what is built.
    captured : Captured
    placement : Placement
    """

    def __init__(self, network: Network, captured: Captured, placement: Any) -> None:
        self._network = network
        self._program = captured.program
        self._graph = captured.program.graph
        self._native = captured.graph
        self._edges = captured.graph.edges
        self._nodes = captured.graph.nodes
        self._node_of = dict(captured.node_of)
        self._mapped = set(captured.node_of.values())
        self._placement = placement
        self._quantizers: dict[int, ActivationQuantizer] = {}
        self._qat = nn.Module()
        self._owners = {name: nn.Module() for name in _OWNERS}
        for name, owner in self._owners.items():
            self._qat.add_module(name, owner)
        self._value: dict[int, fx.Node] = {}  # edge -> its rounded values

    def run(self) -> fx.GraphModule:
        """Build.

        Returns
        -------
        torch.fx.GraphModule
        """
        made = {node.outputs[0]: n for n, node in enumerate(self._nodes)}
        for edge in range(len(self._edges)):
            # Values that come from outside or from a float node are rounded at the border.
            n = made.get(edge)
            computed = n is not None and self._placement.quantized[n]
            if self._group(edge) >= 0 and not self._edges[edge].is_constant and not computed:
                self._round_border(edge)
        for n, node in enumerate(self._nodes):
            if self._placement.quantized[n]:
                self._replace(node)
        self._restore_training()
        return self._assemble()

    def _group(self, edge: int) -> int:
        return int(self._placement.group_of[edge])

    def _quantizer(self, edge: int) -> ActivationQuantizer:
        return self._named_quantizer(edge)[1]

    def _named_quantizer(self, edge: int) -> tuple[str, ActivationQuantizer]:
        group = self._group(edge)
        name = f"{self._network.root}.edges."
        if group in self._quantizers:
            return self._network.groups[group], self._quantizers[group]
        members = self._placement.groups[group]
        fixed = members.fixed
        scheme = self._network.scheme
        quantizer = ActivationQuantizer(
            fixed=None if fixed is None else (float(fixed.scale[0]), int(fixed.zero_point[0])),
            learned=bool(scheme.learned_scales),
            momentum=scheme.momentum,
        )
        first = (list(members.sources) or list(members.edges))[0]
        own = _identifier(self._edges[first].name, self._owners["edges"])
        self._owners["edges"].add_module(own, quantizer)
        self._quantizers[group] = quantizer
        self._network.groups[group] = name + own
        return name + own, quantizer

    def _fx(self, edge: int, what: str) -> fx.Node:
        node = self._node_of.get(edge)
        if node is None:
            raise UnsupportedError(
                f"prepare_qat: the {what} {self._edges[edge].name} of the int8 network must "
                f"correspond to a value of the captured module, got none that equals it"
            )
        return node

    def _round(self, edge: int, after: fx.Node) -> fx.Node:
        name, _ = self._named_quantizer(edge)
        with self._graph.inserting_after(after):
            return self._graph.create_node("call_module", name, (after,))

    def _round_border(self, edge: int) -> None:
        node = self._fx(edge, "edge")
        users = [n for n, native in enumerate(self._nodes) if any(i == edge for i in native.inputs)]
        rounded = self._round(edge, node)
        self._value[edge] = rounded
        all_codes = all(self._placement.quantized[n] for n in users)
        if all_codes and edge not in self._native.output_ids:
            node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)

    def _replace(self, node: Any) -> None:
        out = node.outputs[0]
        if node.op in LAYERS:
            made = self._layer(node)
        elif node.op in OPERATORS and not node.attributes.get("ceil_mode"):
            made = self._operator(node)
        else:
            self._move(node)
            return
        old = self._fx(out, "edge")
        rounded = self._round(out, made)
        old.replace_all_uses_with(rounded)
        self._value[out] = rounded

    def _operand(self, edge: int, within: Sequence[fx.Node]) -> fx.Node:
        """The rounded values of an edge, behind the dropout that the captured program has there."""
        value = self._value.get(edge)
        if value is None:
            if self._edges[edge].is_constant:
                return self._constant(edge)
            # A copy of rounded values by nodes that were left as they are.
            value = self._fx(edge, "edge")
        for node in within:
            if node.target in _DROPOUT and node.args[0] in (value, self._node_of.get(edge)):
                return node
        return value

    def _constant(self, edge: int) -> fx.Node:
        """A constant operand: a parameter of the module, or a literal of the graph."""
        origin = self._edges[edge].origin
        known = dict(self._program.named_parameters()) | dict(self._program.named_buffers())
        shape = tuple(self._edges[edge].shape)
        if origin not in known or tuple(known[origin].shape) != shape:
            value = torch.from_numpy(self._native.edges[edge].constant.copy())
            origin = self._literal(f"edge_{edge}", value)
        first = next(iter(self._graph.nodes))
        with self._graph.inserting_before(first):
            node = self._graph.create_node("get_attr", origin)
        return self._round(edge, node)

    def _kept(self, weight: Any) -> torch.Tensor | None:
        """The mask of a pruned weight."""
        name = str(weight.target) if isinstance(weight, fx.Node) else ""
        if not _has(self._network.template, name):
            return None
        value = _get(self._network.template, name).detach()
        return value != 0 if is_pruned(value.cpu()) else None

    def _literal(self, name: str, value: torch.Tensor) -> str:
        """Keep a tensor that is no part of the module; returns its name."""
        literals = self._owners["literals"]
        own = _identifier(name, literals)
        literals.register_buffer(own, value.detach(), persistent=False)
        return f"{self._network.root}.literals.{own}"

    def _region(self, node: fx.Node) -> list[fx.Node]:
        return list(region(node, lambda n: n in self._mapped or n.op == "call_module"))

    def _layer(self, node: Any) -> fx.Node:
        out = self._fx(node.outputs[0], "edge")
        within = self._region(out)
        linear = [n for n in within if n.target in _LINEAR]
        norms = [n for n in within if n.target is _NORM]
        strange = [
            n
            for n in within
            if n.target not in _LINEAR | _DROPOUT
            and n.target is not _NORM
            and (_short(n) not in _HARMLESS or n.target in _SUMS)
        ]
        if len(linear) + bool(norms and not linear) != 1 or len(norms) > 1 or strange:
            what = ", ".join(sorted({_short(n) for n in strange or [*linear, *norms]})) or "nothing"
            raise UnsupportedError(
                f"prepare_qat: layer {node.name} must be one convolution or linear layer with at "
                f"most a BatchNorm and an activation, got {what}; give it fp32 in the recipe"
            )
        weight = bias = None
        if linear:
            weight = linear[0].args[1]
            bias = linear[0].args[2] if len(linear[0].args) > 2 else None
        gamma = beta = mean = variance = norm = count = None
        if norms:
            gamma, beta, mean, variance = norms[0].args[1:5]
            norm, count = self._norm(norms[0])
        tensors = (weight, bias, gamma, beta, mean, variance)
        if any(isinstance(t, fx.Node) and t.op != "get_attr" for t in tensors):
            raise UnsupportedError(
                f"prepare_qat: layer {node.name} must use parameters as they are, got a weight "
                f"that the module computes; give it fp32 in the recipe"
            )
        source, target = self._quantizer(node.inputs[0]), self._quantizer(node.outputs[0])
        layer = QuantizedLayer(
            node.op,
            node.attributes,
            self._weight_quantizer(node),
            source,
            target,
            norm,
            self._kept(weight),
        )
        layers = self._owners["layers"]
        own = _identifier(self._edges[node.outputs[0]].name, layers)
        layers.add_module(own, layer)
        name = f"{self._network.root}.layers.{own}"
        self._network.layers[node.name] = (
            name,
            tuple(str(t.target) if isinstance(t, fx.Node) else None for t in tensors),
        )
        x = self._operand(node.inputs[0], within)
        with self._graph.inserting_after(out):
            return self._graph.create_node("call_module", name, (x, *tensors, count))

    def _weight_quantizer(self, node: Any) -> WeightQuantizer:
        scheme = self._network.scheme
        bits, channels, axis = weight_form(self._native, node, scheme)
        return WeightQuantizer(channels, axis=axis, bits=bits, learned=bool(scheme.learned_scales))

    def _operator(self, node: Any) -> fx.Node:
        out = self._fx(node.outputs[0], "edge")
        within = self._region(out)
        inputs = [i for i in node.inputs if i >= 0]
        operands = [self._operand(i, within) for i in inputs]
        operator = QuantizedOperator(
            node.op,
            node.attributes,
            [self._quantizer(i) for i in inputs],
            self._quantizer(node.outputs[0]),
        )
        if node.op == "avg_pool":  # one scale before and after
            operands = [self._requantized(inputs[0], node, operands[0])]
        return self._call(node.op, operator, operands, out)

    def _call(
        self, kind: str, operator: nn.Module, operands: Sequence[Any], after: fx.Node
    ) -> fx.Node:
        operators = self._owners["operators"]
        own = _identifier(kind, operators)
        operators.add_module(own, operator)
        with self._graph.inserting_after(after):
            return self._graph.create_node(
                "call_module", f"{self._network.root}.operators.{own}", tuple(operands)
            )

    def _requantized(self, edge: int, node: Any, value: fx.Node) -> fx.Node:
        """The values of an input at the parameters of the node's output."""
        out = node.outputs[0]
        if self._group(edge) == self._group(out):
            return value
        operator = QuantizedOperator(
            "requantize", {}, [self._quantizer(edge)], self._quantizer(out)
        )
        made = self._call("requantize", operator, [value], value)
        return self._round(out, made)

    def _move(self, node: Any) -> None:
        """A node that copies values stays as it is; where it computes, its result is rounded."""
        out = node.outputs[0]
        computes = out in self._placement.groups[self._group(out)].sources
        data = node.inputs[:1] if node.op == "gather" else [i for i in node.inputs if i >= 0]
        changed = [i for i in data if self._group(i) != self._group(out)]
        same = node.op in _COPIES
        for edge in changed if same else []:
            target = self._fx(out, "edge")
            value = self._value.get(edge) or self._fx(edge, "edge")
            if value not in target.all_input_nodes:
                raise UnsupportedError(
                    f"prepare_qat: {node.op} {node.name} must take {self._edges[edge].name} "
                    f"directly, to change its scale"
                )
            target.replace_input_with(value, self._requantized(edge, node, value))
        for edge in data:
            self._use_rounded(edge, node)
        if computes and not (same and changed):
            old = self._fx(out, "edge")
            users = list(old.users)
            rounded = self._round(out, old)
            for user in users:
                user.replace_input_with(old, rounded)
            self._value[out] = rounded

    def _use_rounded(self, edge: int, node: Any) -> None:
        """Where float nodes see an edge unrounded, this one must not."""
        raw, rounded = self._node_of.get(edge), self._value.get(edge)
        if raw is None or rounded is None or raw is rounded:
            return
        target = self._node_of.get(node.outputs[0])
        if target is not None and raw in target.all_input_nodes:
            target.replace_input_with(raw, rounded)
        elif raw in rounded.all_input_nodes and set(raw.users) != {rounded}:
            raise UnsupportedError(
                f"prepare_qat: {node.op} {node.name} must take {self._edges[edge].name} directly: "
                f"float operators use it too"
            )

    def _restore_training(self) -> None:
        """Dropout and left-over BatchNorm get their training behaviour back."""
        for node in list(self._graph.nodes):
            if node.op != "call_function" or not node.users:
                continue
            if node.target in _DROPOUT:
                kind = nn.AlphaDropout if "alpha" in str(node.target) else nn.Dropout
                if "feature" in str(node.target):
                    kind = nn.Dropout2d  # type: ignore[assignment]
                made = self._call("dropout", kind(float(node.args[1])), [node.args[0]], node)
            elif node.target is _NORM:
                norm, count = self._norm(node)
                made = self._call("batch_norm", NormLayer(norm), [*node.args[:5], count], node)
            else:
                continue
            node.replace_all_uses_with(made)
            self._graph.erase_node(node)

    def _norm(self, node: fx.Node) -> tuple[Norm, fx.Node | None]:
        """The settings of a BatchNorm, and the buffer that counts its batches."""
        epsilon, momentum = float(node.args[7]), float(node.args[6])  # type: ignore[arg-type]
        mean = node.args[3]
        path = str(mean.target).rpartition(".")[0] if isinstance(mean, fx.Node) else ""
        owner = self._network.template.get_submodule(path)
        if not isinstance(getattr(owner, "num_batches_tracked", None), torch.Tensor):
            return Norm(epsilon, momentum), None
        with self._graph.inserting_before(next(iter(self._graph.nodes))):
            name = f"{path}.num_batches_tracked" if path else "num_batches_tracked"
            count = self._graph.create_node("get_attr", name)
        # The captured program has 0 for the mean over all batches.
        return Norm(epsilon, None if getattr(owner, "momentum", 0.0) is None else momentum), count

    def _assemble(self) -> fx.GraphModule:
        root = nn.Module()
        template = self._network.template
        for name, parameter in template.named_parameters(remove_duplicate=False):
            _place(root, name, lambda m, n, v=parameter: m.register_parameter(n, _copy(v)))
        shared: dict[int, torch.Tensor] = {}
        for name, buffer in template.named_buffers(remove_duplicate=False):
            value = shared.setdefault(id(buffer), buffer.detach().clone())
            owner = template.get_submodule(name.rpartition(".")[0])
            kept = name.rpartition(".")[2] not in owner._non_persistent_buffers_set
            _place(root, name, lambda m, n, v=value, k=kept: m.register_buffer(n, v, persistent=k))
        _tie(root, template)
        root.add_module(self._network.root, self._qat)
        self._program.add_module(self._network.root, self._qat)
        self._graph.eliminate_dead_code()
        for node in self._graph.nodes:
            if node.op == "get_attr" and not _has(root, str(node.target)):
                value = _get(self._program, str(node.target))
                if isinstance(value, torch.Tensor):
                    node.target = self._literal(str(node.target), value)
                else:
                    _place(root, str(node.target), lambda m, n, v=value: m.add_module(n, v))
        _call_plainly(self._graph)
        self._graph.lint()
        # Who unpickles a graph module traces its code, which the exporter's tracer cannot.
        self._graph._tracer_cls = fx.Tracer
        prepared = PreparedModule(root, self._graph)
        _complete(prepared, root)
        prepared.recompile()
        return prepared


_COPIES = {
    "max_pool", "reduce_max", "concat", "slice", "pad", "gather", "reshape", "transpose", "expand",
    "identity",
}  # fmt: skip


def _call_plainly(graph: fx.Graph) -> None:
    """Positional tensors in, the module's own structure out, without a detour over flat lists."""
    codegen: Any = graph._codegen
    info = getattr(codegen, "pytree_info", None)
    if info is None:
        return
    output = graph.output_node()
    results = output.args[0]
    flat = list(results) if isinstance(results, (list, tuple)) else [results]
    if info.out_spec is not None:
        results = torch.utils._pytree.tree_unflatten(flat, info.out_spec)
    graph.set_codegen(fx.graph.CodeGen())
    output.args = (results,)


def _complete(prepared: fx.GraphModule, root: nn.Module) -> None:
    """What the program does not use keeps its name too, and checkpoints hold what they held."""
    for name, parameter in root.named_parameters(remove_duplicate=False):
        if not _has(prepared, name):
            _place(prepared, name, lambda m, n, v=parameter: m.register_parameter(n, v))
    for name, buffer in root.named_buffers(remove_duplicate=False):
        if not _has(prepared, name):
            _place(prepared, name, lambda m, n, v=buffer: m.register_buffer(n, v))
    for path, owner in root.named_modules():
        if owner._non_persistent_buffers_set:
            own = prepared.get_submodule(path)._non_persistent_buffers_set
            own.update(owner._non_persistent_buffers_set)


def _copy(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), parameter.requires_grad)


def _tie(root: nn.Module, template: nn.Module) -> None:
    """Names that share a parameter share it again."""
    first: dict[int, str] = {}
    for name, parameter in template.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            path, _, last = name.rpartition(".")
            root.get_submodule(path).register_parameter(last, root.get_parameter(known))


def _place(root: nn.Module, name: str, register: Any) -> None:
    *path, last = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    register(module, last)


def _get(root: nn.Module, name: str) -> Any:
    value: Any = root
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _has(root: nn.Module, name: str) -> bool:
    try:
        _get(root, name)
    except AttributeError:
        return False
    return True


def _short(node: fx.Node) -> str:
    name = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", "")
    return str(name).split(".")[0]


def _identifier(name: str, parent: nn.Module) -> str:
    plain = re.sub(r"\W", "_", name) or "edge"
    unique, number = plain, 0
    while hasattr(parent, unique):
        number += 1
        unique = f"{plain}_{number}"
    return unique


__all__ = ["Builder", "NormLayer"]
