"""The Keras model that is trained with its rounding, and its way to an int8 graph."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import UnsupportedError
from ..compress.qat_scheme import Scheme
from ..compress.trained_graph import LAYERS, TrainedLayer, trained_graph, weight_form
from ..graph.graph import Graph
from ..importers.keras import from_keras
from ..importers.keras_walk import nodes_of
from ..runtime.session import Session
from .integer_sums import IntegerSums, Operands
from .quantized_layer import Ends, QuantizedLayer
from .quantizers import FakeQuantize, WeightRounding, as_array
from .rebuild import Expansion, rebuild

_TOLERANCE = 1e-3  # of a tensor's largest value; folding BatchNormalization alone moves it by 1e-5
_PASSING = ("BatchNormalization", "ReLU", "Activation")
_SUMS = ("mul", "reduce_mean", "avg_pool")
_COPIES = {
    "max_pool", "reduce_max", "concat", "slice", "pad", "gather", "reshape", "transpose", "expand",
    "identity",
}  # fmt: skip


class KerasNetwork:
    """What a prepared model remembers.

    Parameters
    ----------
    model : keras.Model
        The plain one.
    scheme : Scheme
    """

    def __init__(self, model: Any, scheme: Scheme) -> None:
        self.scheme = scheme
        self._original = model
        self._trained: dict[str, QuantizedLayer] = {}
        self._groups: dict[int, FakeQuantize] = {}
        self._copied: list[tuple[Any, Any]] = []  # (layer of the expansion, layer that trains)
        self._expansion = Expansion(model)
        self._operators: list[tuple[str, str]] = []

    @classmethod
    def build(cls, model: Any, scheme: Scheme) -> Any:
        """Build the model that trains.

        Parameters
        ----------
        model : keras.Model
        scheme : Scheme

        Returns
        -------
        keras.Model
        """
        network = cls(keras.models.clone_model(model), scheme)
        network._original.set_weights(model.get_weights())
        network._expansion.copy_weights(model)
        prepared = _Builder(network).run()
        prepared.tersor_qat = network
        return prepared

    def plain(self) -> Any:
        """Return a copy of the plain model with the weights that training moved."""
        self._collect()
        plain = keras.models.clone_model(self._original)
        self._expansion.give_weights(plain)
        return plain

    def to_graph(self) -> Graph:
        """Convert to an int8 graph with exactly the trained parameters.

        Returns
        -------
        Graph
        """
        self._collect()
        graph = from_keras(self._expansion.model)
        if [(node.op, node.name) for node in graph.nodes] != self._operators:
            raise UnsupportedError(
                "from_keras: the prepared model must convert like the plain one did; its operators "
                "changed with the weights"
            )
        groups = {index: quantizer.qparams() for index, quantizer in self._groups.items()}
        layers = {name: _trained(layer) for name, layer in self._trained.items()}
        return trained_graph(graph, self.scheme, groups, layers)

    def _collect(self) -> None:
        """Bring the trained weights into the expansion."""
        for source, trained in self._copied:
            for a, b in zip(trained.weights, source.weights, strict=True):
                b.assign(a.value)


def _trained(layer: QuantizedLayer) -> TrainedLayer:
    kernel, bias = layer.folded()
    codes, scale, bias_codes = layer.integers(kernel, bias)
    return TrainedLayer(
        _native(layer, as_array(kernel)),
        None if bias is None else as_array(bias),
        _native(layer, codes).astype(np.int8),
        scale,
        layer.rounding.bits,
        None if layer.rounding.channels is None else 0,
        None if bias_codes is None else bias_codes.astype(np.int32),
    )


def _native(layer: QuantizedLayer, kernel: NDArray[Any]) -> NDArray[Any]:
    """The kernel in the native order of axes."""
    if isinstance(layer.inner, keras.layers.Dense):
        return np.ascontiguousarray(kernel.T)
    if isinstance(layer.inner, keras.layers.DepthwiseConv2D):
        moved = np.moveaxis(kernel, (-2, -1), (0, 1))
        return np.ascontiguousarray(moved.reshape(-1, 1, *moved.shape[2:]))
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


class _Builder:
    """Matches the expansion with its graph and rebuilds it with quantizers."""

    def __init__(self, network: KerasNetwork) -> None:
        self._network = network
        twin = keras.models.clone_model(network._expansion.model)
        _randomise(twin)
        self._expanded = network._expansion.model
        self._graph = from_keras(twin)
        network._operators = [(node.op, node.name) for node in self._graph.nodes]
        self._placement = _core.graph.place_quantizers(self._graph, network.scheme.rules)
        if not any(self._placement.quantized):
            reasons = sorted({r for r in self._placement.reasons if r}) or ["it has no layer"]
            raise UnsupportedError(
                f"prepare_qat: {self._expanded.name} has nothing to quantize: {reasons[0]}"
            )
        self._layer_of = _match(twin, self._graph)  # native edge -> layer's name
        self._users = _users(twin)
        self._makers = {n.operation.name: n.operation for n in nodes_of(self._expanded)}
        self._inputs_of = _inputs(twin)
        self._rounds: dict[str, int] = {}  # layer -> edge whose quantizer comes after it
        self._layers: dict[str, tuple[Any, str | None, str, Any]] = {}
        self._absorbed: set[str] = set()
        self._sums: dict[str, Any] = {}  # layer -> native node whose sums it computes

    def run(self) -> Any:
        """Build."""
        self._plan()
        inputs = list(self._graph.input_ids)

        def enter(i: int, x: Any) -> Any:
            return self._quantizer(inputs[i])(x) if self._is_source(inputs[i]) else x

        return rebuild(self._expanded, self._call, enter, self._expanded.name)

    def _is_source(self, edge: int) -> bool:
        return self._placement.group_of[edge] >= 0

    def _plan(self) -> None:
        made = {node.outputs[0]: n for n, node in enumerate(self._graph.nodes)}
        for edge, n in made.items():
            group = self._placement.group_of[edge]
            node = self._graph.nodes[n]
            if group < 0:
                continue
            computes = edge in self._placement.groups[group].sources
            copies = node.op in _COPIES and not computes
            mixed = any(
                self._placement.group_of[i] not in (group, -1) for i in node.inputs if i >= 0
            )
            if copies and (node.op not in LAYERS) and not (node.op in _COPIES and mixed):
                continue
            if edge not in self._layer_of:
                raise UnsupportedError(
                    f"prepare_qat: the edge {self._graph.edges[edge].name} of the int8 network "
                    f"must be the output of a layer, got none that equals it"
                )
            self._rounds[self._layer_of[edge]] = edge
            if self._placement.quantized[n] and node.op in LAYERS:
                self._plan_layer(node, self._layer_of[edge])
            elif self._placement.quantized[n] and node.op in _SUMS:
                name, _ = self._first(self._layer_of[edge])
                self._sums[name] = node

    def _plan_layer(self, node: Any, last: str) -> None:
        """Walk back from the layer whose output is rounded to the one with the weight."""
        name, norm = self._first(last)
        layer = self._makers.get(name)
        kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
        if not isinstance(layer, kinds):
            raise UnsupportedError(
                f"prepare_qat: {last!r} must follow Conv2D, DepthwiseConv2D, SeparableConv2D or "
                f"Dense to be quantized, got {type(layer).__name__}; give it fp32 in the recipe"
            )
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise UnsupportedError(f"prepare_qat: layer {name!r} must have channels last")
        self._layers[name] = (node, norm, str(node.attributes["activation"]), layer)
        if norm is not None:
            self._absorbed.add(norm)

    def _first(self, last: str) -> tuple[str, str | None]:
        """The layer that computes, and the BatchNormalization between it and `last`."""
        name, norm = last, None
        while type(self._makers[name]).__name__ in _PASSING:
            if type(self._makers[name]).__name__ == "BatchNormalization":
                norm = name
            before = self._inputs_of[name]
            if len(before) != 1 or self._users.get(before[0], 0) != 1:
                break
            name = before[0]
        return name, norm

    def _quantizer(self, edge: int) -> FakeQuantize:
        group = self._placement.group_of[edge]
        known = self._network._groups
        if group not in known:
            fixed = self._placement.groups[group].fixed
            name = self._graph.edges[edge].name.replace("/", "_").replace(":", "_")
            known[group] = FakeQuantize(
                None if fixed is None else (float(fixed.scale[0]), int(fixed.zero_point[0])),
                momentum=self._network.scheme.momentum,
                name=f"quantize_{name}",
            )
        return known[group]

    def _call(self, layer: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        name = layer.name
        if name in self._layers:
            y = self._quantized(name)(*arguments)
        elif name in self._absorbed:
            y = arguments[0]
        else:
            made = layer
            if isinstance(layer, keras.layers.Layer):
                made = type(layer).from_config(layer.get_config())
            y = made(*arguments, **options)
            if getattr(made, "weights", None):
                made.set_weights(layer.get_weights())
                self._network._copied.append((layer, made))
        if name in self._sums:
            y = self._integer_sums(self._sums[name])(y)
        if name in self._rounds:
            return self._quantizer(self._rounds[name])(y)
        return y

    def _integer_sums(self, node: Any) -> IntegerSums:
        edges = self._graph.edges
        sources = [self._quantizer(i) for i in node.inputs if i >= 0]
        count = 1
        if node.op == "reduce_mean":
            shape = edges[node.inputs[0]].shape
            count = int(np.prod([shape[axis] for axis in node.attributes["axes"]]))
        name = f"integers_{edges[node.outputs[0]].name}".replace("/", "_").replace(":", "_")
        operands = Operands(sources, self._quantizer(node.outputs[0]))
        return IntegerSums(node.op, operands, count, name=name)

    def _quantized(self, name: str) -> QuantizedLayer:
        node, norm, activation, layer = self._layers[name]
        bits, channels, _ = weight_form(self._graph, node, self._network.scheme)
        learned = self._network.scheme.learned_scales
        learned = bits < 8 if learned is None else learned
        rank = len(layer.kernel.shape)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (0, 1) if depthwise else tuple(range(rank - 1))
        ends = Ends(self._quantizer(node.inputs[0]), self._quantizer(node.outputs[0]))
        parts = [layer] + ([] if norm is None else [self._makers[norm]])
        own = [type(part).from_config(part.get_config()) for part in parts]
        made = QuantizedLayer(
            own[0],
            WeightRounding(bits, channels, axes, learned=learned),
            ends,
            own[1] if norm is not None else None,
            activation,
            name=f"quantized_{name}",
        )
        made.build(layer.input.shape)
        for source, copy in zip(parts, own, strict=True):
            copy.set_weights(source.get_weights())
            self._network._copied.append((source, copy))
        made.hold_zeros()
        made.start_scales(for_good=False)
        self._network._trained[node.name] = made
        return made


def _randomise(model: Any) -> None:
    """Random weights: no two tensors of the twin are equal by chance."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.rsplit("/", 1)[-1]
        if not str(variable.dtype).startswith("float"):
            continue
        if len(shape) >= 2:
            fan_in = max(int(np.prod(shape[:-1])), 1)
            value = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        elif "variance" in name:
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(1.0 if "gamma" in name else 0.0, 0.2, shape)
        variable.assign(value.astype(np.float32))


def _inputs(model: Any) -> dict[str, list[str]]:
    """Names of the layers that a layer's inputs come from."""
    maker = {id(t): n.operation.name for n in nodes_of(model) for t in n.outputs}
    return {
        n.operation.name: [maker[id(t)] for t in n.input_tensors]
        for n in nodes_of(model)
        if not n.is_input
    }


def _users(model: Any) -> dict[str, int]:
    count: dict[str, int] = {}
    for before in _inputs(model).values():
        for name in before:
            count[name] = count.get(name, 0) + 1
    inner = getattr(model, "_functional", None) or model
    maker = {id(t): n.operation.name for n in nodes_of(model) for t in n.outputs}
    for tensor in inner.outputs:
        count[maker[id(tensor)]] = count.get(maker[id(tensor)], 0) + 1
    return count


def _match(model: Any, graph: Graph) -> dict[int, str]:
    """Native edge -> name of the layer whose output has its values."""
    rng = np.random.default_rng(1)
    inner = getattr(model, "_functional", None) or model
    nodes = [n for n in nodes_of(model) if not n.is_input and len(n.outputs) == 1]
    probe = keras.Model(inner.inputs, [n.outputs[0] for n in nodes])
    inputs = []
    for tensor in inner.inputs:
        shape = (2, *(int(d) for d in tensor.shape[1:]))
        inputs.append(rng.normal(size=shape).astype(np.float32))
    found = probe(inputs[0] if len(inputs) == 1 else inputs, training=False)
    values = [as_array(v) for v in (found if isinstance(found, (list, tuple)) else [found])]
    edges = graph.edges
    names = [edges[n.outputs[0]].name for n in graph.nodes]
    given = {edges[i].name: x for i, x in zip(graph.input_ids, inputs, strict=True)}
    truth = Session(graph, threads=1).run_edges(given, names)
    layer_of: dict[int, str] = {}
    used: set[str] = set()
    for native in graph.nodes:
        edge = native.outputs[0]
        expected = truth[edges[edge].name]
        for node, value in zip(nodes, values, strict=True):
            name = node.operation.name
            if name not in used and _equal(value, expected):
                layer_of[edge] = name
                used.add(name)
                break
    return layer_of


def _equal(value: NDArray[Any], native: NDArray[Any]) -> bool:
    """Whether the values agree, in Keras's order of axes or with channels first."""
    candidates = [native]
    if native.ndim >= 3:
        candidates.append(np.moveaxis(native, 1, -1))
    for candidate in candidates:
        if candidate.shape == value.shape and np.isfinite(candidate).all():
            largest = float(np.abs(candidate).max()) if candidate.size else 0.0
            if float(np.abs(candidate - value).max()) <= _TOLERANCE * largest:
                return True
    return False


__all__ = ["KerasNetwork"]
