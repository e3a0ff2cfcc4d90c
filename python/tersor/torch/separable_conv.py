"""Rewrite standard convolutions of a trained module as depthwise-separable ones."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS: dict[type, type] = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}


class SeparableConv(nn.Sequential):
    """Depthwise convolution, optionally BatchNorm and an activation, pointwise convolution.

    Parameters
    ----------
    depthwise, pointwise : torch.nn.Conv1d or torch.nn.Conv2d
    norm, activation : torch.nn.Module, optional
        Between them.
    weight_error : float
        What :attr:`weight_error` is to say.

    Attributes
    ----------
    weight_error : float
        Frobenius norm of the difference between the original weights and those that the two
        convolutions stood for when they were made, relative to the norm of the original.
    """

    def __init__(
        self,
        depthwise: nn.Module,
        pointwise: nn.Module,
        *,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        weight_error: float = 0.0,
    ) -> None:
        layers = {"depthwise": depthwise, "norm": norm, "activation": activation}
        kept = {name: layer for name, layer in layers.items() if layer is not None}
        super().__init__(OrderedDict(**kept, pointwise=pointwise))
        self.weight_error = weight_error


def to_depthwise_separable(
    module: nn.Module,
    *,
    exclude: Iterable[str] = (),
    depth_multiplier: int = 1,
    norm: bool = False,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Module:
    r"""Replace standard convolutions by depthwise and pointwise ones of nearly the same weights.

    A kernel W[o, i, k] (k runs over the taps) becomes P[o, i] D[i, k]: for each input channel the
    matrix W[:, i, :] is replaced by the nearest one of rank 1, from its singular value
    decomposition, so the Frobenius norm of the error is the least that any such pair can have.
    Stride, padding, dilation and bias stay. Convolutions with one tap or with groups stay as they
    are, and so do subclasses of ``Conv1d`` and ``Conv2d``, which may compute something else; layers
    that share weights still do. Where kernels are far from separable the network needs fine-tuning
    afterwards.

    Parameters
    ----------
    module : torch.nn.Module
        It is not changed.
    exclude : iterable of str
        Names of layers that stay, as in ``module.named_modules()``; ``*`` and ``?`` match as in
        file names. A first layer with 3 input channels is a good one to name.
    depth_multiplier : int
        Depthwise kernels for each input channel, at least 1: the rank of the approximation. The
        number of taps makes it exact, and larger than before.
    norm : bool
        Put BatchNorm between the two. Until it has seen data it is the identity (but for epsilon)
        in eval mode.
    activation : callable, optional
        Makes the activation between the two, such as ``torch.nn.ReLU``. The result then no longer
        approximates `module`.

    Returns
    -------
    torch.nn.Module
        A copy in which each such convolution is a :class:`SeparableConv`; its `weight_error` says
        what the layer lost, :func:`separable_errors` collects them.

    Raises
    ------
    ValueError
        If nothing can be replaced, a pattern names no layer, the multiplier is out of range, a
        layer is parametrized, pruned or has hooks, it shares its weight with a layer that stays, or
        weights are not finite.
    TypeError
        If `module` is no module or the multiplier is no integer.

    References
    ----------
    Eckart & Young, "The approximation of one matrix by another of lower rank", 1936; Sifre,
    "Rigid-motion scattering for image classification", 2014.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2))
    >>> rewritten = to_depthwise_separable(network, exclude=["0"])
    >>> [tuple(p.shape) for p in rewritten[2].parameters()]
    [(8, 1, 3, 3), (16, 8, 1, 1), (16,)]
    >>> list(separable_errors(rewritten))
    ['2']
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"to_depthwise_separable: module must be a torch.nn.Module, got {type(module).__name__}"
        )
    if isinstance(depth_multiplier, bool) or not isinstance(depth_multiplier, int):
        raise TypeError(
            f"to_depthwise_separable: depth_multiplier must be an integer, got {depth_multiplier!r}"
        )
    if depth_multiplier < 1:
        raise ValueError(
            f"to_depthwise_separable: depth_multiplier must be at least 1, got {depth_multiplier}"
        )
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    kept = _matches(module, patterns)
    standard = {
        name
        for name, layer in module.named_modules(remove_duplicate=False)
        if name not in kept and _is_standard(name, layer)
    }
    result = copy.deepcopy(module)
    made: dict[int, SeparableConv] = {}
    shared: dict[int, SeparableConv] = {}  # by the weights that they replaced
    layers = list(result.named_modules(remove_duplicate=False))
    for name, layer in layers:
        if name not in standard:
            continue
        if id(layer) not in made:  # a layer that is used twice stays one layer
            made[id(layer)] = _separate(name, layer, depth_multiplier, norm, activation)
            first = shared.setdefault(id(layer.weight), made[id(layer)])
            _tie(made[id(layer)], first)
        if not name:
            return made[id(layer)]
        parent, _, child = name.rpartition(".")
        setattr(result.get_submodule(parent), child, made[id(layer)])
    for name, layer in result.named_modules():
        if any(id(parameter) in shared for parameter in layer.parameters(recurse=False)):
            raise ValueError(
                "to_depthwise_separable: weights must not be shared with a layer that stays, got "
                f"{name or 'module'}"
            )
    if not made:
        raise ValueError(
            "to_depthwise_separable: module must have a convolution with more than one tap and one "
            f"group that is not excluded, got {type(module).__name__}"
        )
    return result


def separable_errors(module: nn.Module) -> dict[str, float]:
    """Return what each layer lost when it was made separable.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`to_depthwise_separable`.

    Returns
    -------
    dict of str to float
        Name of the layer, relative error of its weights.
    """
    layers = module.named_modules()
    return {name: m.weight_error for name, m in layers if isinstance(m, SeparableConv)}


def _matches(module: nn.Module, patterns: list[str]) -> set[str]:
    names = [name for name, _ in module.named_modules(remove_duplicate=False)]
    matched: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(f"to_depthwise_separable: exclude must name layers, got {pattern!r}")
        # What is inside an excluded block stays, too.
        matched |= found | {n for n in names if any(n.startswith(f"{f}.") for f in found)}
    return matched


def _is_standard(name: str, layer: nn.Module) -> bool:
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return False
    parametrized = nn.utils.parametrize.is_parametrized(layer)
    # A subclass may compute something else from its weights: it stays.
    if not (parametrized or type(layer) in _CONVOLUTIONS):
        return False
    if layer.groups != 1 or layer.weight[0, 0].numel() == 1:
        return False
    what = name or "module"
    if parametrized:
        raise ValueError(
            f"to_depthwise_separable: layer must be plain, got parametrized {what}; "
            "remove its parametrizations or exclude it"
        )
    if "weight" not in layer._parameters:  # PyTorch cannot copy such a module either
        raise ValueError(
            f"to_depthwise_separable: weight must be a parameter, got a computed one at {what}; "
            "make it one by prune.remove or remove_weight_norm"
        )
    for kind in ("forward", "forward_pre", "backward", "backward_pre"):
        if getattr(layer, f"_{kind}_hooks"):
            raise ValueError(
                f"to_depthwise_separable: layer must have no hooks, got {kind} hooks at {what}; "
                "remove them or exclude it"
            )
    if not layer.weight.is_floating_point() or layer.weight.is_meta:
        raise ValueError(
            "to_depthwise_separable: weights must be real numbers in memory, got "
            f"{layer.weight.dtype} on {layer.weight.device} at {what}"
        )
    return True


def _tie(layer: SeparableConv, first: SeparableConv) -> None:
    """Share weights, as the convolutions that the two replace did."""
    for name in ("depthwise", "pointwise"):
        weight: nn.Parameter = first.get_submodule(name).weight  # type: ignore[assignment]
        layer.get_submodule(name).register_parameter("weight", weight)


def _separate(
    name: str,
    layer: nn.Module,
    multiplier: int,
    norm: bool,
    activation: Callable[[], nn.Module] | None,
) -> SeparableConv:
    kind: Any = type(layer)
    conv: Any = layer
    weight = conv.weight.detach()
    if not bool(weight.isfinite().all()):
        raise ValueError(f"to_depthwise_separable: weights must be finite, got {name or 'module'}")
    depth, point, error = _factorise(weight, multiplier)
    hidden = depth.shape[0]
    options = {"device": weight.device, "dtype": weight.dtype}
    depthwise = kind(
        conv.in_channels,
        hidden,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        groups=conv.in_channels,
        bias=False,
        padding_mode=conv.padding_mode,
        **options,
    )
    pointwise = kind(hidden, conv.out_channels, 1, bias=conv.bias is not None, **options)
    with torch.no_grad():
        depthwise.weight.copy_(depth)
        pointwise.weight.copy_(point.reshape(pointwise.weight.shape))
    pointwise.bias = conv.bias  # the same: frozen or shared as it was
    result = SeparableConv(
        depthwise,
        pointwise,
        norm=_CONVOLUTIONS[kind](hidden, **options) if norm else None,
        activation=activation() if activation else None,
        weight_error=error,
    )
    for parameter in (depthwise.weight, pointwise.weight):
        parameter.requires_grad_(conv.weight.requires_grad)
    return result.train(conv.training)


def _factorise(weight: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Return depthwise weights, pointwise weights (outputs, inputs * rank), relative error."""
    outputs, inputs, *taps = weight.shape
    w = weight.double().reshape(outputs, inputs, -1).transpose(0, 1)
    left, sigma, right = torch.linalg.svd(w, full_matrices=False)
    rank = min(rank, sigma.shape[1])
    total = float(sigma.square().sum())
    lost = float(sigma[:, rank:].square().sum())
    # Each side takes the root of the singular value: both then have weights of like size.
    # Where it is 0 (but for rounding) two zeros would never learn: their
    # gradients are each other's multiples. There the depthwise kernel is the unit vector.
    rounding = 1e-14 if weight.dtype == torch.float64 else torch.finfo(torch.float32).eps
    zero = sigma[:, :rank] <= rounding * sigma[:, :1]
    root = sigma[:, :rank].sqrt().masked_fill(zero, 0)
    depth = root.masked_fill(zero, 1)[:, :, None] * right[:, :rank]
    depth = depth.reshape(inputs * rank, 1, *taps)
    point = (left[:, :, :rank] * root[:, None]).permute(1, 0, 2).reshape(outputs, inputs * rank)
    return depth, point, (lost / total) ** 0.5 if total else 0.0


__all__ = ["SeparableConv", "separable_errors", "to_depthwise_separable"]
