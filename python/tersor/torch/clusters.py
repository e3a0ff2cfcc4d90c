"""Training through codebooks: weights that are entries of a table, which is what learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn.utils import parametrize

from .. import _core
from ..codebook import Codebook, kmeans
from ..pruning import select_layers
from ..pruning.network_masks import is_pruned

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class _Decode(torch.autograd.Function):
    """``table[codes]``; the gradient of an entry is the sum over its members, in fixed order."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, codes: torch.Tensor, step: int) -> torch.Tensor:
        ctx.codes, ctx.step, ctx.shape = codes, step, table.shape
        values = table.detach().contiguous().numpy()
        decoded = _core.codebook.decode("cluster_weights", codes.numpy(), values, step)
        return torch.from_numpy(decoded)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        dw = gradient.contiguous().numpy()
        k = int(ctx.shape[-1])
        sums = _core.codebook.sum_members("cluster_weights", ctx.codes.numpy(), dw, ctx.step, k)
        return torch.from_numpy(sums.astype(np.float32)).view(ctx.shape), None, None


class Clusters(nn.Module):
    """Parametrization of a weight: ``centroids[indices]``.

    Parameters
    ----------
    found : Codebook
        Tables lie along axis 0, or there is one.
    latent : bool
        The weight itself is kept beside the centroids and gets the gradient of the entry that
        stands for it, so that :meth:`assign` can choose anew.
    like : torch.Tensor
        Of the dtype and on the device of the weight.
    """

    indices: torch.Tensor
    kept: torch.Tensor

    def __init__(self, found: Codebook, *, latent: bool, like: torch.Tensor) -> None:
        super().__init__()
        table = np.atleast_2d(found.centroids).astype(np.float32)
        self.tables, self.k = table.shape
        self.step = max(1, found.group_size * math.prod(found.indices.shape[1:]))
        if found.axis is None:
            self.step = max(1, found.indices.size)
        self.latent = latent
        self.register_buffer("indices", torch.from_numpy(found.indices).to(like.device))
        # 0 for the entry that is exactly 0 in a pruned tensor: it gets no gradient.
        kept = torch.from_numpy((table != 0).astype(np.float32))
        self.register_buffer("kept", kept.to(like.device, like.dtype))
        self._table = torch.from_numpy(table).to(like.device, like.dtype)

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """Return the weight: of the centroids, or of the latent weight and the centroids."""
        table = values[-1] * self.kept
        native = table.dtype == torch.float32 and table.is_cpu
        if native and not torch.compiler.is_compiling():
            weight: torch.Tensor = _Decode.apply(table, self.indices, self.step)  # type: ignore[no-untyped-call]
        else:
            weight = table.reshape(-1)[self._places()]
        if not self.latent:
            return weight
        # Values of the table, gradients to both.
        held: torch.Tensor = weight + (values[0] - values[0].detach())
        return held

    def right_inverse(self, weight: torch.Tensor) -> Any:
        """Take the weight that was clustered."""
        table = self._table.clone()
        return (weight, table) if self.latent else table

    def assign(self, weight: torch.Tensor, centroids: torch.Tensor) -> int:
        """Give every value its nearest centroid; zeros that are held stay.

        Parameters
        ----------
        weight, centroids : torch.Tensor

        Returns
        -------
        int
            Values whose centroid changed.
        """
        table = (centroids.detach() * self.kept).float().cpu().numpy()
        kept = self.kept.float().cpu().numpy() != 0
        values = weight.detach().float().cpu().numpy().reshape(-1)
        codes = self.indices.cpu().numpy().reshape(-1)
        new = codes.copy()
        for t in range(self.tables):
            part = slice(t * self.step, (t + 1) * self.step)
            order = np.argsort(np.where(kept[t], table[t], np.inf), kind="stable")
            order = order[: int(kept[t].sum())]
            if not order.size:
                continue
            middles = (table[t][order][1:] + table[t][order][:-1]) / 2
            nearest = order[np.searchsorted(middles, values[part])].astype(np.uint8)
            new[part] = np.where(kept[t][codes[part]], nearest, codes[part])
        self.indices.copy_(torch.from_numpy(new.reshape(tuple(self.indices.shape))))
        return int((new != codes).sum())

    def _places(self) -> torch.Tensor:
        if self.tables == 1:
            return self.indices.long()
        n = self.indices.numel()
        first = torch.arange(n, device=self.indices.device) // self.step * self.k
        places: torch.Tensor = self.indices.long() + first.view(self.indices.shape)
        return places


class WeightClusters:
    """What :func:`cluster_weights` returns: the tables of a module while they are trained.

    Attributes
    ----------
    layers : list of str
        Names of the clustered layers.
    steps : int
        Counted so far.

    Examples
    --------
    See :func:`cluster_weights`.
    """

    def __init__(
        self, module: nn.Module, clusters: dict[str, Clusters], reassign: int | None
    ) -> None:
        self._module, self._clusters, self.reassign_every = module, clusters, reassign
        self.steps = 0

    @property
    def layers(self) -> list[str]:
        """Names of the clustered layers."""
        return list(self._clusters)

    def codebooks(self) -> dict[str, Codebook]:
        """Return the table and indices of every layer as they are now.

        Returns
        -------
        dict of str to Codebook
        """
        found = {}
        for name, own in self._clusters.items():
            table = (self._originals(name)[-1].detach() * own.kept).float().cpu().numpy()
            one = own.step >= own.indices.numel()
            size = own.step // max(1, math.prod(own.indices.shape[1:]))
            found[name] = Codebook(
                table[0] if one else table,
                own.indices.cpu().numpy().copy(),
                0.0,
                axis=None if one else 0,
                group_size=1 if one else size,
            )
        return found

    def attach(self, optimizer: torch.optim.Optimizer) -> Any:
        """Call :meth:`step` after every step of an optimizer.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Made after the module was clustered: its parameters are the centroids.

        Returns
        -------
        torch.utils.hooks.RemovableHandle
        """
        return optimizer.register_step_post_hook(lambda *_: self.step())

    def step(self) -> None:
        """Count an optimizer step, and assign anew where it is due."""
        self.steps += 1
        if self.reassign_every and self.steps % self.reassign_every == 0:
            self.reassign()

    def reassign(self) -> int:
        """Give every weight its nearest centroid.

        Returns
        -------
        int
            Weights whose centroid changed; 0 unless the module was clustered with ``reassign``.
        """
        changed = 0
        for name, own in self._clusters.items():
            if own.latent:
                latent, table = self._originals(name)
                changed += own.assign(latent, table)
        return changed

    def finalize(self) -> nn.Module:
        """Write the decoded weights into the module and make it a plain one again.

        Returns
        -------
        torch.nn.Module
            The module; its weights have k values each.
        """
        for name in self._clusters:
            layer: Any = self._module.get_submodule(name)
            weight = layer.weight.detach().clone()
            trained = self._originals(name)[-1].requires_grad
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight = nn.Parameter(weight, requires_grad=trained)
        self._clusters = {}
        return self._module

    def _originals(self, name: str) -> tuple[torch.Tensor, ...]:
        layer: Any = self._module.get_submodule(name)
        held = layer.parametrizations.weight
        if self._clusters[name].latent:
            return held.original0, held.original1
        return (held.original,)


def cluster_weights(
    module: nn.Module,
    k: int | Mapping[str, int] = 16,
    *,
    group_size: int | None = None,
    exclude: Sequence[str] = (),
    algorithm: str = "exact",
    init: str = "linear",
    weights: Mapping[str, ArrayLike] | None = None,
    reassign: int | None = None,
    seed: int = 0,
) -> WeightClusters:
    """Make the weights of a module entries of a table, and the tables its parameters.

    Convolutions and dense layers become parametrizations (`torch.nn.utils.parametrize`): the
    module's forward code sees ``centroids[indices]``, optimizers move the centroids, whose gradient
    is the sum over their members [1]_. Indices are buffers, so `state_dict`, autocast and
    torch.compile treat them as part of the module. Zeros of a pruned weight stay exactly 0.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place until :meth:`WeightClusters.finalize`. Make the optimizer afterwards.
    k : int or mapping of str to int, default 16
        Centroids, 1 to 256; or by pattern (``*``, ``?``) of layer names, the first that matches,
        where layers without a match stay as they are.
    group_size : int, optional
        Output channels that share a table; None: one table a layer.
    exclude : sequence of str
        Patterns of layers that stay as they are.
    algorithm, init, seed
        Of :func:`tersor.codebook.kmeans`.
    weights : mapping of str to array-like, optional
        By layer, of the weight's shape: how much each squared error counts.
    reassign : int, optional
        Steps after which every weight takes its nearest centroid anew (see
        :meth:`WeightClusters.attach`). The weights are then kept beside the centroids and follow
        the gradient of what stands for them. None: indices stay.

    Returns
    -------
    WeightClusters

    Raises
    ------
    ValueError
        If there is no layer to cluster, a weight is parametrized already, or an argument is out of
        range.

    References
    ----------
    .. [1] Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.3.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> clusters = cluster_weights(net, 4)
    >>> optimizer = torch.optim.SGD(net.parameters(), 0.01)
    >>> net(torch.randn(4, 8)).square().mean().backward()
    >>> optimizer.step()
    >>> net = clusters.finalize()
    >>> len(net[0].weight.unique())
    4
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"cluster_weights: module must be a torch.nn.Module, got {type(module).__name__}"
        )
    if reassign is not None and reassign < 1:
        raise ValueError(f"cluster_weights: reassign must be at least 1, got {reassign}")
    found: dict[str, Any] = {n: m for n, m in module.named_modules() if isinstance(m, _KINDS)}
    counts = _counts(list(found), k, exclude)
    if not counts:
        raise ValueError("cluster_weights: module must have Conv or Linear layers, got none")
    for name in counts:
        if parametrize.is_parametrized(found[name], "weight"):
            raise ValueError(
                "cluster_weights: module must have plain weights, got a parametrized one "
                "(finalize the pruner that it has)"
            )
    for name in weights or {}:
        if name not in counts:
            raise ValueError(f"cluster_weights: weights must be of clustered layers, got {name!r}")
    clusters = {}
    for name, count in counts.items():
        weight = found[name].weight
        array = _array(weight)
        codebook = kmeans(
            array,
            count,
            algorithm=algorithm,
            init=init,
            weights=None if weights is None or name not in weights else weights[name],
            axis=None if group_size is None else 0,
            group_size=1 if group_size is None else group_size,
            keep_zero=True if is_pruned(array) and count > 1 else None,
            seed=seed,
        )
        own = Clusters(codebook, latent=reassign is not None, like=weight.detach())
        trained = weight.requires_grad
        parametrize.register_parametrization(found[name], "weight", own)
        for parameter in found[name].parametrizations.weight.parameters(recurse=False):
            parameter.requires_grad_(trained)
        clusters[name] = own
    return WeightClusters(module, clusters, reassign)


def _counts(
    names: Sequence[str], k: int | Mapping[str, int], exclude: Sequence[str]
) -> dict[str, int]:
    chosen = select_layers(names, exclude=exclude) if names else []
    if not isinstance(k, Mapping):
        return dict.fromkeys(chosen, k)
    counts: dict[str, int] = {}
    for pattern, count in k.items():
        for name in select_layers(names, include=[pattern]):
            if name in chosen:
                counts.setdefault(name, count)
    return {name: counts[name] for name in chosen if name in counts}


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().contiguous().numpy())


__all__ = ["Clusters", "WeightClusters", "cluster_weights"]
