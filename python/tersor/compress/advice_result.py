"""What :func:`tersor.advise` found: layers, findings, tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..base.plain_text import plain_text

if TYPE_CHECKING:
    from rich.console import Group

    from ..base.printed_table import PrintedTable

_NAMED = 3  # layers that a table names


@dataclass(frozen=True)
class LayerAdvice:
    """What is known of one layer with weights.

    Attributes
    ----------
    name, op : str
        Of the node.
    origin : str
        The weight's name in the source framework; empty where there is none.
    kind : str
        Which layers it is grouped with, such as "3x3 convolutions".
    macs : int
        Multiply-accumulates of one sample.
    dtype : str
        "float32" or "int8": what it computes in.
    sparsity : float
        Share of its weights that are 0 now; of an int8 layer, of its blocks of 1x4.
    pays_from : float or None
        Sparsity, counted likewise, from which on its sparse form is faster for one sample; None
        where it never is.
    pays_from_batch : float or None
        The same in the micro-batches that larger batches are cut into.
    pays_from_int8 : float or None
        Share of blocks of 1x4 from which on the sparse form is faster for one sample where the
        layer is quantized to int8.
    kernel : str
        Kernel that runs it on this machine now.
    why_not : str
        Why it has no sparse form that pays; empty where it has one.
    """

    name: str
    op: str
    origin: str
    kind: str
    macs: int
    dtype: str
    sparsity: float
    pays_from: float | None
    pays_from_batch: float | None
    pays_from_int8: float | None
    kernel: str
    why_not: str = ""

    @property
    def label(self) -> str:
        """The module that it came from, or its name."""
        return self.origin.removesuffix(".weight") or self.name


@dataclass(frozen=True)
class Finding:
    """One sentence about a group of layers.

    Attributes
    ----------
    topic : {"sparsity", "int8", "channels", "kernels"}
    pays : bool
        Whether it says that something would pay.
    layers : tuple of str
        Names of nodes; empty for the whole network.
    text : str
        The sentence, without a capital or a full stop.
    source : str
        "table" (the break-even table that sessions choose by), "graph" (follows from the network),
        "measured" (on this machine) or "modelled" (for a device that is not this one).
    """

    topic: str
    pays: bool
    layers: tuple[str, ...]
    text: str
    source: str


@dataclass(frozen=True)
class Advice:
    """What would pay for a network, and what would not; made by :func:`tersor.advise`.

    Prints as tables in a terminal and in Jupyter.

    Attributes
    ----------
    target : str
        Name of the device, "this machine" by default.
    findings : tuple of Finding
    layers : tuple of LayerAdvice
        In the order of execution.
    micro_batch : int
        Samples of a micro-batch.
    break_even_version : int
        Of the table.
    """

    target: str
    findings: tuple[Finding, ...]
    layers: tuple[LayerAdvice, ...]
    micro_batch: int
    break_even_version: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON.

        Returns
        -------
        dict
        """
        return asdict(self)

    def summary(self) -> PrintedTable:
        """Return the findings as a table.

        Returns
        -------
        rich.table.Table
            Columns topic, pays, layers, what, and where it is known from.
        """
        from ..base.printed_table import PrintedTable

        labels = {layer.name: layer.label for layer in self.layers}
        table = PrintedTable(
            text_width=140,
            title=plain_text(f"what would pay on {self.target}", "table.title"),
            title_justify="left",
        )
        for name in ("topic", "pays", "layers", "what", "source"):
            table.add_column(name, overflow="fold")
        for f in self.findings:
            named = [labels.get(name, name) for name in f.layers[:_NAMED]]
            more = len(f.layers) - _NAMED
            if more > 0:
                named.append(f"and {more} more")
            row = (f.topic, "yes" if f.pays else "no", ", ".join(named) or "all", f.text, f.source)
            table.add_row(*map(plain_text, row))
        return table

    def table(self) -> PrintedTable:
        """Return the layers as a table.

        Returns
        -------
        rich.table.Table
            Share of the MACs, sparsity now, and from which sparsity on a layer is faster.
        """
        from ..base.printed_table import PrintedTable

        total = max(1, sum(layer.macs for layer in self.layers))
        table = PrintedTable(
            text_width=140,
            title="sparsity from which on a layer is faster",
            title_justify="left",
            caption=f"break-even table {self.break_even_version}; of int8 layers blocks of 1x4 "
            "count, for one sample",
            caption_justify="left",
        )
        for name in ("layer", "kind"):
            table.add_column(name, overflow="fold")
        batches = ["one sample"]
        if self.micro_batch > 1:
            batches.append(f"batch of {self.micro_batch}")
        for name in ("% MACs", "zeros now", *batches, "int8, 1x4"):
            table.add_column(name, justify="right")
        table.add_column("why not", overflow="fold")
        for layer in self.layers:
            row = (
                layer.label,
                layer.kind,
                f"{100 * layer.macs / total:.1f}",
                f"{layer.sparsity:.0%}",
                *map(_share, (layer.pays_from, layer.pays_from_batch)[: len(batches)]),
                _share(layer.pays_from_int8),
                layer.why_not,
            )
            table.add_row(*map(plain_text, row))
        return table

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(self.summary(), self.table())

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.table()}"

    def __repr__(self) -> str:
        pays = sum(f.pays for f in self.findings)
        return f"Advice({self.target!r}: {pays} of {len(self.findings)} findings pay)"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_() + self.table()._repr_html_()


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.0%}"


__all__ = ["Advice", "Finding", "LayerAdvice"]
