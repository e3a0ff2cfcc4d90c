"""The module that quantization-aware training trains: a graph module that survives copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

META = "tersor_qat"  # key of `meta` under which a prepared module holds its Network


class PreparedModule(fx.GraphModule):
    """A graph module that keeps what it remembers when it is copied, pickled or saved whole.

    ``torch.fx.GraphModule`` loses ``meta`` in a pickle, and forgets in a copy which buffers of its
    own stay out of a state dict.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedModule:
        made = super().__deepcopy__(memo)
        assert isinstance(made, PreparedModule)
        made._non_persistent_buffers_set.update(self._non_persistent_buffers_set)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        restore, arguments = super().__reduce__()
        return _restored, (restore, arguments, self.meta, set(self._non_persistent_buffers_set))


def _restored(
    restore: Callable[..., fx.GraphModule],
    arguments: tuple[Any, ...],
    meta: dict[str, Any],
    non_persistent: set[str],
) -> PreparedModule:
    found = restore(*arguments)
    made: PreparedModule = PreparedModule.__new__(PreparedModule)
    made.__dict__ = found.__dict__
    made.graph = found.graph  # also compiles the code of the new class
    made.meta.update(meta)
    made._non_persistent_buffers_set.update(non_persistent)
    return made


__all__ = ["META", "PreparedModule"]
