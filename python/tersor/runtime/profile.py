"""Where the time of a network goes. Native half: ``cpp/tersor/runtime/session.h`` (profile)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..base.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table

    from ..base.printed_table import PrintedTable


@dataclass(frozen=True)
class LayerProfile:
    """One executed step.

    Attributes
    ----------
    node : str
        Name of the node; names joined by " + " for a fused group.
    op : str
        Operator.
    kernel : str
        Provider and kernel that ran.
    time_us : float
        Median time for the whole batch, in microseconds.
    macs : int
        Multiply-accumulates for the whole batch.
    bytes : int
        Activations read and written, and packed weights, in bytes.
    output_shape : tuple of int
        Logical shape, batch first.
    """

    node: str
    op: str
    kernel: str
    time_us: float
    macs: int
    bytes: int
    output_shape: tuple[int, ...]

    @property
    def gmacs_per_second(self) -> float:
        """Multiply-accumulates per second, in 1e9."""
        return self.macs / self.time_us / 1e3 if self.time_us > 0 else 0.0


class Profile(Sequence[LayerProfile]):
    """The steps of one profiled run, in the order of execution.

    Prints as a table in a terminal and in Jupyter. `Session.profile` makes it.
    """

    def __init__(self, layers: Sequence[LayerProfile], *, batch: int, threads: int) -> None:
        self.layers = tuple(layers)
        self.batch = batch
        self.threads = threads

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __iter__(self) -> Iterator[LayerProfile]:
        return iter(self.layers)

    @property
    def time_us(self) -> float:
        """Sum of the steps' medians, in microseconds."""
        return sum(layer.time_us for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch."""
        return sum(layer.macs for layer in self.layers)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the steps as plain dictionaries, for JSON.

        Returns
        -------
        list of dict
            One per step, with the attributes of `LayerProfile`.
        """
        return [asdict(layer) for layer in self.layers]

    def table(self) -> PrintedTable:
        """Return the profile as a rich table.

        Returns
        -------
        rich.table.Table
        """
        from ..base.printed_table import PrintedTable

        total = max(self.time_us, 1e-9)
        table = PrintedTable(
            text_width=140,
            title=f"batch {self.batch}, {self.threads} thread(s), {total:,.1f} us",
        )
        for name in ("node", "op", "kernel", "output"):
            table.add_column(name, overflow="fold")
        for name in ("us", "%", "MMACs", "GMACs/s", "KB"):
            table.add_column(name, justify="right")
        for layer in self.layers:
            row = (
                layer.node,
                layer.op,
                layer.kernel,
                "x".join(map(str, layer.output_shape)),
                f"{layer.time_us:,.1f}",
                f"{100 * layer.time_us / total:.1f}",
                f"{layer.macs / 1e6:,.2f}" if layer.macs else "",
                f"{layer.gmacs_per_second:,.1f}" if layer.macs else "",
                f"{layer.bytes / 1024:,.1f}",
            )
            table.add_row(*map(plain_text, row))
        return table

    def __rich__(self) -> Table:
        return self.table()

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"Profile({len(self)} steps, {self.time_us:.1f} us)"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


__all__ = ["LayerProfile", "Profile"]
