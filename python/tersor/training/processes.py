"""What data-parallel processes tell each other beyond the gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import distributed, nn

from .callback import Shared


def reduce_shared(items: Iterable[Shared], every: str) -> None:
    """Make callbacks' tensors equal in all processes, in place; nothing in a single process.

    Parameters
    ----------
    items : iterable of Shared
    every : {"step", "epoch"}
        Which ones.
    """
    if not _many():
        return
    operations = {
        "mean": distributed.ReduceOp.SUM,
        "sum": distributed.ReduceOp.SUM,
        "min": distributed.ReduceOp.MIN,
        "max": distributed.ReduceOp.MAX,
    }
    for item in items:
        if item.every != every:
            continue
        if item.reduce == "first":
            _broadcast(item.tensor)
            continue
        distributed.all_reduce(item.tensor, operations[item.reduce])
        if item.reduce == "mean":
            item.tensor.div_(distributed.get_world_size())


def broadcast_buffers(model: nn.Module) -> None:
    """Give every process the floating-point buffers of process 0, such as running means.

    Counters are equal everywhere as it is.

    Parameters
    ----------
    model : torch.nn.Module
    """
    if not _many():
        return
    kinds: dict[torch.dtype, list[torch.Tensor]] = {}
    for buffer in model.buffers():
        if buffer.is_floating_point() and buffer.numel():
            kinds.setdefault(buffer.dtype, []).append(buffer.detach())
    for buffers in kinds.values():
        # One message for all: a network has dozens, of a few bytes each.
        flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
        distributed.broadcast(flat, 0)
        for buffer, values in zip(
            buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True
        ):
            buffer.copy_(values.view_as(buffer))


def summed(values: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes, in each of them.

    Parameters
    ----------
    values : torch.Tensor

    Returns
    -------
    torch.Tensor
        A new tensor.
    """
    total = values.clone()
    if _many():
        distributed.all_reduce(total)
    return total


def largest(flag: bool, device: torch.device) -> bool:
    """Return whether a flag is set in any process, in each of them.

    Parameters
    ----------
    flag : bool
    device : torch.device

    Returns
    -------
    bool
    """
    if not _many():
        return flag
    value = torch.tensor(float(flag), device=device)
    distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return bool(value > 0)


def _many() -> bool:
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def _broadcast(tensor: torch.Tensor) -> None:
    # gloo knows no bool; the bytes are the same.
    plain = tensor.detach()
    distributed.broadcast(plain.view(torch.uint8) if plain.dtype == torch.bool else plain, 0)


__all__ = ["broadcast_buffers", "largest", "reduce_shared", "summed"]
