"""Training a compressed network through its codes: which they are, and what they stand for."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..compress import CompressedModel
from ..compress.float_twin import float_twin
from ..graph import Graph
from ..quantization import QParams
from .network_module import NetworkModule

# The price of a bit to begin with, in squared gaps between neighbouring values, the most it
# changes at once, and how far it may go.
_PRICE, _MOST_CHANGE, _LOWEST, _HIGHEST = 0.1, 1.3, 1e-3, 1.0


class CodedWeight(nn.Module):
    """A weight whose entries are values of a table, or multiples of one step.

    Parameters
    ----------
    constant : ndarray of int
        Codes of the weight.
    qparams : QParams
        One step and zero point 0, or a codebook of one table.
    latent : ndarray, optional
        The weight that the codes stand for, of the same shape; None: codes stay as they are.
    keep_zeros : bool
        Weights that are 0 stay 0.

    Attributes
    ----------
    price : float
        Of a bit, in squared gaps.
    """

    codes: torch.Tensor
    levels: torch.Tensor
    scale: torch.Tensor
    kept: torch.Tensor

    def __init__(
        self,
        constant: NDArray[Any],
        qparams: QParams,
        latent: NDArray[np.float32] | None,
        keep_zeros: bool,
    ) -> None:
        super().__init__()
        codes = np.asarray(constant).astype(np.int64)
        self.has_table = qparams.codebook is not None
        if qparams.codebook is not None:
            levels, scale = qparams.codebook[0], qparams.scale
        else:
            first = int(codes.min(initial=0))
            levels = np.arange(first, codes.max(initial=0) + 1, dtype=np.float32)
            codes, scale = codes - first, np.ones(1, np.float32)
        shape = (-1, *[1] * (codes.ndim - 1))
        self.register_buffer("codes", torch.from_numpy(codes))
        self.register_buffer("levels", torch.from_numpy(levels.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32).reshape(shape)))
        # What learns is in units of the gap between neighbouring values, so that one learning rate
        # fits all layers: the values of a table but 0, or the step.
        if self.has_table:
            gaps = np.diff(np.unique(levels))
            self._gap = float(np.median(gaps)) if gaps.size else 1.0
            self.trained = nn.Parameter(self.levels / self._gap)
        else:
            self._gap = float(qparams.scale[0])
            self.trained = nn.Parameter(torch.ones(()))
        self.register_buffer("kept", (self.levels != 0).float())
        self._keep_zeros = keep_zeros
        self.price = _PRICE
        self.latent: nn.Parameter | None = None
        if latent is not None:
            self.latent = nn.Parameter(self._near(torch.from_numpy(latent.copy()) / self._unit()))

    def values(self) -> torch.Tensor:
        """Return what each code stands for, before the scale of its channel."""
        return self._gap * self.trained * (self.kept if self.has_table else self.levels)

    def _unit(self) -> torch.Tensor:
        """What 1 of the latent weight is."""
        return self._gap * self.scale

    def forward(self) -> torch.Tensor:
        """Return the weight; gradients go to the values and the latent weight, if there is one."""
        weight = self.values()[self.codes] * self.scale
        if self.latent is not None:  # its value stays out of it
            weight = weight + self._unit() * (self.latent - self.latent.detach())
        return weight

    def lengths(self) -> torch.Tensor:
        """Return the bits that each code takes, by how often it is used."""
        counts = torch.bincount(self.codes.reshape(-1), minlength=len(self.levels)).float() + 1
        return -torch.log2(counts / counts.sum())

    def bits(self) -> float:
        """Return the bits of all codes, by the entropy of their distribution."""
        return float(self.lengths()[self.codes].sum())

    @torch.no_grad()
    def assign(self) -> int:
        """Give every weight the code of least squared error + price x bits.

        Returns
        -------
        int
            Codes that changed.
        """
        if self.latent is None:
            return 0
        new = self._best(self.latent.detach())
        changed = int((new != self.codes).sum())
        self.codes.copy_(new)
        return changed

    def _best(self, latent: torch.Tensor) -> torch.Tensor:
        values = self.values().detach() / self._gap
        cost = self.price * self.lengths()
        chosen, borders = cheapest(values.double().numpy(), cost.double().numpy())
        places = torch.bucketize(latent.contiguous(), torch.from_numpy(borders).float())
        best = torch.from_numpy(chosen)[places]
        if self._keep_zeros:
            best = torch.where(values[self.codes] == 0, self.codes, best)
        return best

    def _near(self, latent: torch.Tensor) -> torch.Tensor:
        """The weight where it asks for the code it has, else the value of that code."""
        held = self.values().detach()[self.codes] / self._gap
        return torch.where(self._best(latent) == self.codes, latent, held)

    def result(self) -> tuple[NDArray[Any], QParams]:
        """Return codes and parameters as a graph stores them."""
        scale = self.scale.reshape(-1).numpy()
        codes = self.codes.numpy()
        if not self.has_table:
            step = np.float32(self._gap * self.trained.detach())
            levels = self.levels.numpy().astype(np.int8)
            return levels[codes], QParams(scale=[float(step)], zero_point=[0])
        table = self.values().detach().numpy().astype(np.float16)
        used, places = np.unique(codes, return_inverse=True)
        order = np.argsort(table[used], kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        q = QParams(
            scale=scale.tolist(),
            zero_point=[0] * len(scale),
            axis=0 if len(scale) > 1 else None,
            codebook=table[used][order].astype(np.float32),
        )
        return rank[places].reshape(codes.shape).astype(np.uint8), q


def cheapest(
    values: NDArray[np.float64], cost: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which value is best for every real w: the least of (w - value)^2 + cost.

    Parameters
    ----------
    values, cost : ndarray, shape (k,)
        At least one.

    Returns
    -------
    chosen : ndarray of int64, shape (n,)
        Indices of the values that are best somewhere, from left to right.
    borders : ndarray, shape (n - 1,)
        Where one ends and the next begins, rising.
    """
    chosen: list[int] = []
    borders: list[float] = []
    for i in np.lexsort((cost, values)):
        while chosen:
            last = chosen[-1]
            width = values[i] - values[last]
            if width <= 0:  # the same value, cheaper before
                break
            border = (values[i] + values[last]) / 2 + (cost[i] - cost[last]) / (2 * width)
            if not borders or border > borders[-1]:
                chosen.append(int(i))
                borders.append(float(border))
                break
            chosen.pop()
            borders.pop()
        if not chosen:
            chosen.append(int(i))
    return np.array(chosen, np.int64), np.array(borders, np.float64)


class CodedNetwork(nn.Module):
    """A compressed network that is trained on and stays compressed.

    Weights are codes of a table or of one step, as the recipes ``rate-distortion``, ``codebook4``,
    ``codebook2`` and ``deep-compression`` leave them. Their values learn [1]_; with `parent` the
    codes do too: the float weights are kept beside them, follow the gradient of what stands for
    them, and take the code of least squared error + price x bits every `every` steps [2]_. The
    price is led so that the bits of all codes, by their entropy, stay what they were. What learns
    is in units of the gap between neighbouring values: a learning rate of about 1e-3 (Adam) fits
    all layers.

    Parameters
    ----------
    model : CompressedModel
    parent : Graph, optional
        The float network it was made from.
    every : int, default 1
        Optimizer steps from one assignment to the next (:meth:`attach`).
    keep_zeros : bool, default True
        Weights that are 0 stay 0, as pruning wants; False lets codes come and go.

    Attributes
    ----------
    bits : float
        That the codes shall take, by their entropy; those of `model` at first.

    Raises
    ------
    TypeError
        If `model` is not compressed.
    ValueError
        If no weight of `model` has codes of one table or step, or `parent` is another network.

    References
    ----------
    .. [1] Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.3.
    .. [2] Choi, El-Khamy and Lee, "Towards the limit of network quantization", ICLR 2017.

    Examples
    --------
    >>> import numpy as np, torch, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 8))
    >>> values = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    >>> graph.set_outputs([graph.add_node("dense", [x, graph.add_constant("fc.weight", values)])])
    >>> data = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    >>> model = tersor.compress(graph, recipe="codebook4", calibration=data)
    >>> network = CodedNetwork(model, graph, keep_zeros=False)
    >>> optimizer = torch.optim.SGD(network.parameters(), 0.01)
    >>> handle = network.attach(optimizer)
    >>> network(torch.from_numpy(data)).square().mean().backward()
    >>> optimizer.step()
    >>> trained = network.write()
    """

    def __init__(
        self,
        model: CompressedModel,
        parent: Graph | None = None,
        *,
        every: int = 1,
        keep_zeros: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(model, CompressedModel):
            raise TypeError(
                f"CodedNetwork: model must be a CompressedModel, got {type(model).__name__}"
            )
        if every < 1:
            raise ValueError(f"CodedNetwork: every must be at least 1, got {every}")
        self._model, self.every, self.steps = model, every, 0
        self.network = NetworkModule(model)
        self.weights = nn.ModuleList()
        self._names: list[str] = []  # of the parameters that the codes stand for
        self._nodes: list[str] = []
        latent = {} if parent is None else _weights(float_twin(parent))
        by_origin = {origin: name for name, origin in self.network.origins.items()}
        edges = model.graph.edges
        for node in model.graph.nodes:
            edge = edges[node.inputs[1]] if len(node.inputs) > 1 else None
            if edge is None or not edge.is_constant or not _is_coded(edge):
                continue
            shape, weight = np.shape(edge.constant), latent.get(node.name)
            if parent is not None and (weight is None or weight.shape != shape):
                raise ValueError(
                    f"CodedNetwork: parent must have layer {node.name!r} with weights of shape "
                    f"{shape}, as model has"
                )
            self.weights.append(
                CodedWeight(edge.constant, cast(QParams, edge.qparams), weight, keep_zeros)
            )
            self._names.append(by_origin[edge.origin or edge.name])
            self._nodes.append(node.name)
        if not self._names:
            raise ValueError(
                "CodedNetwork: model must have weights of one table or step (rate-distortion, "
                "codebook4, deep-compression), got none"
            )
        coded = set(self._names)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in coded)
        self.bits = self._bits()

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the network; inputs and outputs as the session's."""
        weights = {name: own() for name, own in zip(self._names, self._coded(), strict=True)}
        return torch.func.functional_call(self.network, weights, inputs)

    def attach(self, optimizer: torch.optim.Optimizer) -> Any:
        """Assign codes anew after every so many steps of an optimizer.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer

        Returns
        -------
        torch.utils.hooks.RemovableHandle
        """
        return optimizer.register_step_post_hook(lambda *_: self.step())

    def step(self) -> None:
        """Count an optimizer step, and assign codes anew where it is due."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.assign()

    def assign(self) -> int:
        """Give every weight its best code, and lead the price of a bit.

        Returns
        -------
        int
            Codes that changed.
        """
        changed = sum(own.assign() for own in self._coded())
        change = min(_MOST_CHANGE, max(1 / _MOST_CHANGE, (self._bits() / self.bits) ** 4))
        for own in self._coded():
            own.price = min(_HIGHEST, max(_LOWEST, own.price * change))
        return changed

    def write(self) -> CompressedModel:
        """Return the compressed network as it is now.

        Biases of coded layers are rounded to float16, which halves what a file stores of them.

        Returns
        -------
        CompressedModel
        """
        graph = Graph(self._model.graph.clone())
        parameters = dict(self.network.named_parameters())
        names = {origin: name for name, origin in self.network.origins.items()}
        for name, own in zip(self._nodes, self._coded(), strict=True):
            codes, q = own.result()
            graph.set_weight_codes(name, codes, q)
        for node in graph.nodes:
            if node.name not in self._nodes or len(node.inputs) < 3 or node.inputs[2] < 0:
                continue
            edge = graph.edges[node.inputs[2]]
            bias = parameters[names[edge.origin or edge.name]]
            graph.set_constant(node.inputs[2], bias.detach().half().float().numpy())
        return CompressedModel(graph, self._model.recipe, self._model.lineage, self._model.notes)

    def _coded(self) -> list[CodedWeight]:
        return cast("list[CodedWeight]", list(self.weights))

    def _bits(self) -> float:
        return sum(own.bits() for own in self._coded())


def _is_coded(edge: Any) -> bool:
    q = edge.qparams
    if q is None or edge.dtype == "int32":
        return False
    if q.codebook is not None:
        return len(q.codebook) == 1
    return len(q.scale) == 1 and not np.any(q.zero_point)


def _weights(graph: Graph) -> dict[str, NDArray[np.float32]]:
    edges = graph.edges
    return {
        node.name: np.asarray(edges[node.inputs[1]].constant)
        for node in graph.nodes
        if len(node.inputs) > 1 and node.inputs[1] >= 0 and edges[node.inputs[1]].is_constant
    }


__all__ = ["CodedNetwork", "CodedWeight", "cheapest"]
