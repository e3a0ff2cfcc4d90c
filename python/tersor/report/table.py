"""The rows of a report as text, shared by the terminal, Jupyter and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..base.plain_text import plain_text
from ..targets.units import format_bytes, format_joules, format_seconds, format_share
from .intervals import Interval

if TYPE_CHECKING:
    from rich.table import Table

    from .report import Report
    from .variant import Variant

ABSENT = "-"


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes
    ----------
    title, note : str
    columns : tuple of str
        The first one is text, the rest are figures.
    rows : tuple of tuple of str
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_rich(self) -> Table:
        """Return the table for a terminal.

        Returns
        -------
        rich.table.Table
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(
            text_width=160,
            title=plain_text(self.title, "table.title"),
            title_justify="left",
            caption=plain_text(self.note, "table.caption") if self.note else None,
            caption_justify="left",
        )
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index < 2 else "right", no_wrap=index == 0)
        for row in self.rows:
            table.add_row(*map(plain_text, row))
        return table


def measured_table(report: Report) -> TextTable:
    """Return what was measured on this machine, with factors against the baseline.

    Parameters
    ----------
    report : Report

    Returns
    -------
    TextTable
    """
    base = report[report.baseline]
    rows = tuple(_measured_row(variant, base) for variant in report.variants)
    columns = ["variant", "recipe", "accuracy", "95 % interval", "agreement", "size", "latency"]
    columns += ["p95", "samples/s", "memory"]
    latency = base.latency
    counted = f"{latency.warmup} warm-up and {latency.runs} counted runs"
    note = f"latency: median at batch 1, {report.threads} thread(s), {counted}"
    if base.throughput is not None:
        note += f"; samples/s at batch {base.throughput.batch}"
    if report.data:
        note += f"; quality on {report.data['samples']:,} samples of {report.data['name']}"
    if any(variant.accuracy_interval is not None for variant in report):
        note += "; interval: bootstrap over these"
    environment = report.environment
    title = f"{report.title}: measured on {environment['processor']} ({environment['isa']})"
    return TextTable(title, note, tuple(columns), rows)


def _measured_row(variant: Variant, base: Variant) -> tuple[str, ...]:
    def factor(value: float, reference: float) -> str:
        return "" if variant is base or not value else f" ({reference / value:.2f}x)"

    correct = ABSENT
    if variant.accuracy is not None:
        correct = format_share(variant.accuracy)
        if variant is not base and base.accuracy is not None:
            correct += f" ({100 * (variant.accuracy - base.accuracy):+.2f})"
    rate = variant.throughput.samples_per_s if variant.throughput else None
    return (
        variant.name,
        variant.recipe,
        correct,
        interval_text(variant.accuracy_interval),
        ABSENT if variant.agreement is None else format_share(variant.agreement),
        format_bytes(variant.size_bytes) + factor(variant.size_bytes, base.size_bytes),
        format_seconds(variant.latency.median_s)
        + factor(variant.latency.median_s, base.latency.median_s),
        format_seconds(variant.latency.p95_s),
        ABSENT if rate is None else f"{rate:,.0f}",
        format_bytes(variant.peak_memory_bytes)
        + factor(variant.peak_memory_bytes, base.peak_memory_bytes),
    )


def target_table(report: Report) -> TextTable | None:
    """Return what the variants cost on their targets, None where no variant has a target.

    Parameters
    ----------
    report : Report

    Returns
    -------
    TextTable or None
        Modelled figures carry a ``~``.
    """
    rows = []
    for variant in report.variants:
        figures = variant.on_target
        if figures is None:
            continue
        rows.append(
            (
                variant.name,
                figures.target,
                marked(format_seconds(figures.latency_s), figures.latency_source),
                marked(format_joules(figures.energy_j), figures.energy_source),
                marked(format_bytes(figures.ram_bytes), figures.ram_source),
                format_bytes(variant.size_bytes),
                verdict(variant),
            )
        )
    if not rows:
        return None
    columns = ("variant", "target", "latency", "energy", "memory", "size", "budget")
    note = "~ modelled from published figures of the device, not measured; see the report's sources"
    return TextTable(f"{report.title}: on the targets", note, columns, tuple(rows))


def losses_table(report: Report) -> TextTable | None:
    """Return which layers lose most, None where no variant noted it.

    Parameters
    ----------
    report : Report

    Returns
    -------
    TextTable or None
    """
    rows = []
    for variant in report.variants:
        losses = variant.losses
        if losses is None:
            continue
        layers = ", ".join(f"{name} ({db:.1f} dB)" for name, db in losses.worst_layers.items())
        if losses.measured_on == "weights":
            layers = f"{layers}, of the weights alone"
        points = losses.expected_points
        cost = ABSENT if points is None else f"{points:.1f} points"
        rows.append((variant.name, layers, cost, losses.advice))
    if not rows:
        return None
    columns = ("variant", "most is lost at", "expected loss", "what would help")
    note = (
        "noted at compression, from calibration samples without labels: dB of signal to noise "
        "behind a layer (of the weights alone where there were no samples); points of top-1"
    )
    return TextTable(f"{report.title}: where accuracy is lost", note, columns, tuple(rows))


def interval_text(interval: Interval | None) -> str:
    """Return an interval in percent.

    Parameters
    ----------
    interval : Interval or None

    Returns
    -------
    str
    """
    return ABSENT if interval is None else f"{100 * interval.low:.2f} - {100 * interval.high:.2f}"


def marked(text: str, source: str) -> str:
    """Return a figure with a ``~`` where it is modelled.

    Parameters
    ----------
    text : str
    source : str
        ``"measured"``, ``"emulated"`` or ``"modelled"``.

    Returns
    -------
    str
    """
    return text if source != "modelled" else f"~ {text}"


def verdict(variant: Variant) -> str:
    """Return whether a variant keeps its budget: ``"met"``, or the lines that it misses.

    Parameters
    ----------
    variant : Variant

    Returns
    -------
    str
    """
    figures = variant.on_target
    if figures is None or not figures.budget:
        return ABSENT
    if not figures.misses:
        return "met"
    return "missed: " + ", ".join(miss.line for miss in figures.misses)


__all__ = [
    "ABSENT",
    "TextTable",
    "interval_text",
    "losses_table",
    "marked",
    "measured_table",
    "target_table",
    "verdict",
]
