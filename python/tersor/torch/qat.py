"""Quantization-aware training: from a plain module to one that rounds as it will be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import fx, nn

from ..compress.qat_scheme import Scheme
from ..compress.recipe import Recipe
from .fake_quantize import FakeQuantize
from .qat_network import Network, network_of, unwrapped
from .quantized_layer import QuantizedLayer

Phase = Literal["observe", "quantize", "settle", "freeze"]


def prepare_qat(
    module: nn.Module,
    recipe: Recipe | str | dict[str, Any] = "int8",
    example: torch.Tensor | Sequence[torch.Tensor] | None = None,
    *,
    learned_scales: bool = False,
    momentum: float = 0.05,
) -> fx.GraphModule:
    """Make a module train with the rounding that it will have when it is deployed.

    The module is captured with torch.export in evaluation mode; dropout and BatchNorm get their
    training behaviour back. Quantizers stand where post-training quantization puts them: on the
    weights of convolutions and dense layers, on their biases, and on every edge that is a rounding
    point. BatchNorm is folded into the weight before it is rounded. In evaluation mode the network
    follows the integer arithmetic of :class:`tersor.Session`.

    Parameters
    ----------
    module : torch.nn.Module
        It is not changed. Also one from ``compressed.to_torch()``.
    recipe : Recipe, mapping or str, default "int8"
        "int8", or "w4a8" for 4-bit weights; `layers` and `dense_per_channel` count, what concerns
        calibration does not.
    example : torch.Tensor or sequence of torch.Tensor
        Positional arguments of a call, batch first.
    learned_scales : bool, default False
        Train the scales too (LSQ+); else they follow the largest weights and a moving average of
        the activations' extremes.
    momentum : float, default 0.05
        Share of a new batch in that average, in (0, 1].

    Returns
    -------
    torch.fx.GraphModule
        Parameters and buffers have the names that they have in `module`, so that checkpoints of the
        plain module load with ``load_state_dict``; quantizers are below ``qat``. It trains like any
        module, under autocast, torch.compile and DistributedDataParallel.
        :func:`tersor.from_torch` turns it into an int8 graph with exactly its parameters.

    Raises
    ------
    UnsupportedError
        The module cannot be captured, a layer's weight is computed, or nothing can be quantized.
    TypeError, ValueError
        An argument has a wrong type or value.

    Warns
    -----
    UserWarning
        Operators stay in float because the int8 network would round inside of them (attention,
        group normalization): no value of the captured module is what is rounded there.

    See Also
    --------
    set_qat_phase : observe, quantize, settle, freeze.
    tersor.training.QuantizationSchedule : the same as a callback.
    finalize : the plain module again.

    References
    ----------
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018; Krishnamoorthi, "Quantizing deep convolutional
    networks for efficient inference", 2018 (BatchNorm).

    Examples
    --------
    >>> import torch, tersor                                                   # doctest: +SKIP
    >>> from tersor.torch import prepare_qat                                   # doctest: +SKIP
    >>> net = prepare_qat(torch.nn.Linear(4, 2), example=torch.randn(2, 4))    # doctest: +SKIP
    >>> net(torch.randn(8, 4)).sum().backward()                                # doctest: +SKIP
    >>> session = tersor.Session(tersor.from_torch(net, torch.randn(2, 4)))    # doctest: +SKIP
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"prepare_qat: module must be a torch.nn.Module, got {type(module).__name__}"
        )
    if is_prepared(module):
        raise ValueError("prepare_qat: module must be a plain module, got a prepared one")
    examples = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(examples, Sequence) or not all(isinstance(e, torch.Tensor) for e in examples):
        raise TypeError(
            "prepare_qat: example must be a tensor or a sequence of tensors, got "
            f"{type(example).__name__}"
        )
    _check_types(module, examples)
    scheme = Scheme.parse(recipe, learned_scales=learned_scales, momentum=momentum)
    return Network.build(module, tuple(examples), scheme)


def _check_types(module: nn.Module, examples: Sequence[torch.Tensor]) -> None:
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ValueError(
                f"prepare_qat: module must have float32 parameters (train it under autocast), got "
                f"{parameter.dtype} for {name}"
            )
    for i, tensor in enumerate(examples):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(
                f"prepare_qat: example {i} must be float32 or integers, got {tensor.dtype}"
            )


def is_prepared(module: nn.Module) -> bool:
    """Whether a module came from :func:`prepare_qat`.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    bool
    """
    return network_of(module) is not None


def set_qat_phase(module: nn.Module, phase: Phase) -> None:
    """Choose what the quantizers of a network do.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`prepare_qat`, or one that contains such a network.
    phase : {"observe", "quantize", "settle", "freeze"}
        "observe" only measures ranges, "quantize" rounds while ranges follow (as after
        :func:`prepare_qat`), "settle" holds the statistics of BatchNorm, which now run, and rounds
        biases; "freeze" holds the ranges too.

    Raises
    ------
    ValueError
        If the phase is unknown or the module has no quantizer.

    Examples
    --------
    >>> set_qat_phase(network, "freeze")                                       # doctest: +SKIP
    """
    if phase not in ("observe", "quantize", "settle", "freeze"):
        raise ValueError(
            f"set_qat_phase: phase must be observe, quantize, settle or freeze, got {phase!r}"
        )
    quantizers = [m for m in module.modules() if isinstance(m, FakeQuantize)]
    if not quantizers:
        raise ValueError("set_qat_phase: module must come from prepare_qat, got a plain one")
    for quantizer in quantizers:
        quantizer.observing = phase != "freeze"
        quantizer.quantizing = phase != "observe"
    for layer in module.modules():
        if isinstance(layer, QuantizedLayer):
            layer.norm_frozen = phase in ("settle", "freeze")


def finalize(module: nn.Module) -> nn.Module:
    """Return the plain module with the trained weights.

    Parameters
    ----------
    module : torch.nn.Module
        From :func:`prepare_qat`. It is not changed.

    Returns
    -------
    torch.nn.Module
        Of the class that was given to :func:`prepare_qat`, in evaluation mode. Its weights are
        those that training moved, not their rounded values.

    Raises
    ------
    ValueError
        If the module is not prepared.

    Examples
    --------
    >>> plain = finalize(network)                                              # doctest: +SKIP
    """
    network = network_of(module)
    if network is None:
        raise ValueError(
            f"finalize: module must come from prepare_qat, got {type(module).__name__}"
        )
    return network.plain(unwrapped(module))


__all__ = ["Phase", "finalize", "is_prepared", "prepare_qat", "set_qat_phase"]
