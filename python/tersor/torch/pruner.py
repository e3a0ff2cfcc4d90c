"""Pruning while a module trains: masks that follow a schedule and hold what they dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from ..pruning import select_layers
from ..pruning.network_masks import (
    SCOPES,
    is_pruned,
    network_masks,
    parse_structure,
    score_weights,
)

CRITERIA = ("magnitude", "lamp", "taylor", "movement", "random")
_BY_GRADIENT = ("taylor", "movement")
_KINDS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.Linear,
)


class Schedule(Protocol):
    """What :mod:`tersor.pruning` calls a schedule."""

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity at a step."""

    def updates_at(self, step: int) -> bool:
        """Return whether masks change at a step."""


class Mask(nn.Module):
    """Parametrization of a weight: ``weight * mask``.

    Parameters
    ----------
    shape : sequence of int
    dtype : torch.dtype
    device : torch.device
    straight_through : bool
        Dropped weights get gradients as if they were kept, so that scores from gradients can bring
        them back.
    """

    mask: torch.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        *,
        straight_through: bool = False,
    ) -> None:
        super().__init__()
        # Of the weight's dtype: no conversion in the product, and gloo can broadcast it.
        self.register_buffer("mask", torch.ones(tuple(shape), dtype=dtype, device=device))
        self.straight_through = straight_through

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with zeros where it is dropped."""
        kept = weight * self.mask
        return weight + (kept - weight).detach() if self.straight_through else kept

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Take a weight that is assigned as it is."""
        return weight


class Pruner:
    """Masks on the weights of a module, which a schedule makes denser in zeros while it trains.

    The weights of convolutions and dense layers become parametrizations (`torch.nn.utils
    .parametrize`): the module's forward code sees the weight times its mask, and optimizers move
    the weight underneath. Masks are buffers of the module, so `state_dict`, autocast, torch.compile
    and DistributedDataParallel treat them as part of it.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place until :meth:`finalize`.
    schedule : ConstantSchedule, PolynomialSchedule or IterativeSchedule, optional
        Of :mod:`tersor.pruning`. None holds the zeros that the weights have already.
    structure : str, default "unstructured"
        Or blocks such as ``"1x4"``, or ``"2:4"``; see :func:`tersor.pruning.network_masks`.
    scope : {"global", "layer"}
        The sparsity counts over all layers together, or in each.
    criterion : {"magnitude", "lamp", "taylor", "movement", "random"}
        "taylor" and "movement" sum ``|w * gradient|`` and ``-w * gradient`` over the steps since
        the masks changed last.
    exclude : sequence of str
        Patterns (``*``, ``?``) of layers that keep all weights, by module name.
    seed : int, default 0
        Of the random criterion.

    Attributes
    ----------
    layers : list of str
        Names of the pruned layers.
    steps : int
        Counted so far.

    Raises
    ------
    ValueError
        If an argument is out of range, or there is no layer to prune.

    References
    ----------
    Zhu and Gupta, "To prune, or not to prune", 2017; Sanh et al., "Movement Pruning", 2020.

    Examples
    --------
    >>> import torch
    >>> from tersor.pruning import PolynomialSchedule
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> pruner = Pruner(net, PolynomialSchedule(0.5, end=10, frequency=2))
    >>> optimizer = torch.optim.SGD(net.parameters(), 0.1)
    >>> handle = pruner.attach(optimizer)
    >>> for _ in range(12):
    ...     optimizer.zero_grad()
    ...     net(torch.randn(4, 8)).square().mean().backward()
    ...     optimizer.step()
    >>> pruner.sparsity, pruner.finalize() is net
    (0.5, True)
    """

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule | None = None,
        *,
        structure: str = "unstructured",
        scope: str = "global",
        criterion: str = "magnitude",
        exclude: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Pruner: module must be a torch.nn.Module, got {type(module).__name__}"
            )
        if criterion not in CRITERIA:
            raise ValueError(f"Pruner: criterion must be one of {CRITERIA}, got {criterion!r}")
        if scope not in SCOPES:
            raise ValueError(f"Pruner: scope must be global or layer, got {scope!r}")
        parse_structure(structure)
        self.schedule, self.structure, self.scope = schedule, structure, scope
        self.criterion, self.seed, self.steps = criterion, seed, 0
        self._module = module
        found = {n: m for n, m in module.named_modules() if isinstance(m, _KINDS)}
        names = select_layers(found, exclude=exclude) if found else []
        if schedule is None:
            names = [name for name in names if is_pruned(_array(found[name].weight))]
        if not names:
            what = "weights that are exactly 0" if schedule is None else "Conv or Linear layers"
            raise ValueError(f"Pruner: module must have {what}, got none")
        self._masks: dict[str, Mask] = {}
        self._scores: dict[str, torch.Tensor] = {}
        for name in names:
            self._masks[name] = _masked(found[name], criterion in _BY_GRADIENT)
        self._update(0)

    @property
    def layers(self) -> list[str]:
        """Names of the pruned layers."""
        return list(self._masks)

    @property
    def sparsity(self) -> float:
        """Share of the weights of all pruned layers that are dropped."""
        total = sum(m.mask.numel() for m in self._masks.values())
        return 1 - sum(int(m.mask.count_nonzero()) for m in self._masks.values()) / total

    def masks(self) -> dict[str, torch.Tensor]:
        """Return the mask of every pruned layer.

        Returns
        -------
        dict of str to torch.Tensor of bool
            True where kept.
        """
        return {name: m.mask.bool() for name, m in self._masks.items()}

    def mask_buffers(self) -> list[torch.Tensor]:
        """Return the masks as the buffers of the module, 0 or 1 in the weight's dtype.

        Returns
        -------
        list of torch.Tensor
        """
        return [m.mask for m in self._masks.values()]

    def attach(self, optimizer: torch.optim.Optimizer) -> Any:
        """Call :meth:`step` after every step of an optimizer.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer

        Returns
        -------
        torch.utils.hooks.RemovableHandle
        """
        return optimizer.register_step_post_hook(lambda *_: self.step())

    def observe(self) -> None:
        """Add the gradients that the weights have now to the scores; :meth:`step` does it itself.

        Does nothing for criteria that need no gradient.
        """
        if self.criterion not in _BY_GRADIENT:
            return
        for name, weight in self._weights().items():
            if weight.grad is None:
                continue
            product = (weight.detach() * weight.grad).float()
            product = product.abs() if self.criterion == "taylor" else -product
            known = self._scores.get(name)
            self._scores[name] = product if known is None else known.add_(product)

    def step(self, *, observe: bool = True) -> None:
        """Count an optimizer step, and change the masks where the schedule says so.

        Parameters
        ----------
        observe : bool, default True
            False where :meth:`observe` was called for this step.
        """
        if observe:
            self.observe()
        self.steps += 1
        self._update(self.steps)

    def finalize(self) -> nn.Module:
        """Write the zeros into the weights and make the module a plain one again.

        Returns
        -------
        torch.nn.Module
            The module. :func:`tersor.torch.prepare_qat` and ``Pruner(module)`` hold its zeros.
        """
        modules = dict(self._module.named_modules())
        for name in self._masks:
            layer = modules[name]
            straight = self._masks[name].straight_through
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            if straight:  # w + (w * mask - w) may leave a rounding error
                with torch.no_grad():
                    layer.weight.mul_(self._masks[name].mask)
        self._masks = {}
        return self._module

    def state_dict(self) -> dict[str, Any]:
        """Return what the module's own state does not hold.

        Returns
        -------
        dict
        """
        return {"steps": self.steps, "scores": {n: s.clone() for n, s in self._scores.items()}}

    def load_state_dict(self, state: Any) -> None:
        """Continue from what :meth:`state_dict` returned; load the module's state as well.

        Parameters
        ----------
        state : mapping
        """
        self.steps = int(state["steps"])
        self._scores = {n: s.clone() for n, s in state["scores"].items()}

    def _weights(self) -> dict[str, nn.Parameter]:
        modules = dict(self._module.named_modules())
        return {name: modules[name].parametrizations.weight.original for name in self._masks}

    def _update(self, step: int) -> None:
        if self.schedule is None or not self.schedule.updates_at(step):
            return
        sparsity = self.schedule.sparsity_at(step)
        weights = {n: _array(w) for n, w in self._weights().items()}
        scores = self._rated(weights)
        chosen = network_masks(
            weights, sparsity, structure=self.structure, scope=self.scope, scores=scores
        )
        with torch.no_grad():
            for name, mask in chosen.items():
                target = self._masks[name].mask
                target.copy_(torch.from_numpy(mask).to(target.device, target.dtype))
        self._scores = {}

    def _rated(self, weights: dict[str, NDArray[np.float32]]) -> Any:
        if self.criterion in _BY_GRADIENT and len(self._scores) == len(weights):
            return {name: _array(self._scores[name]) for name in weights}
        # As long as no gradient was seen: magnitudes.
        return score_weights(weights, self.criterion, self.seed)


def _masked(layer: nn.Module, straight_through: bool) -> Mask:
    if parametrize.is_parametrized(layer, "weight"):
        raise ValueError(
            "Pruner: module must have plain weights, got a parametrized one (finalize the pruner "
            "that it has)"
        )
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    mask = Mask(weight.shape, weight.dtype, weight.device, straight_through=straight_through)
    if is_pruned(_array(weight)):
        mask.mask.copy_(weight.detach() != 0)
    parametrize.register_parametrization(layer, "weight", mask)
    return mask


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().contiguous().numpy())


__all__ = ["CRITERIA", "Mask", "Pruner"]
