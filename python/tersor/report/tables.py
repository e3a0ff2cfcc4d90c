"""All tables of a report, in the order in which they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..targets.units import format_bytes, format_joules, format_seconds, format_share
from .file_parts import PARTS
from .intervals import Interval
from .table import (
    ABSENT,
    TextTable,
    interval_text,
    losses_table,
    marked,
    measured_table,
    target_table,
    verdict,
)

if TYPE_CHECKING:
    from .report import Report
    from .variant import TargetFigures, Variant


def tables_of(report: Report) -> list[TextTable]:
    """Return the tables that a report has figures for.

    Parameters
    ----------
    report : Report

    Returns
    -------
    list of TextTable
    """
    tables = [measured_table(report), file_table(report), target_table(report)]
    tables += [losses_table(report), scales_table(report)]
    return [table for table in tables if table is not None]


def file_table(report: Report) -> TextTable | None:
    """Return what the saved files are made of, None where nothing was encoded.

    Parameters
    ----------
    report : Report

    Returns
    -------
    TextTable or None
    """
    known = [variant for variant in report if variant.file is not None]
    if not known:
        return None
    # Parts that no file has need no column.
    parts = [p for p in PARTS if any(getattr(v.file, p) for v in known)]
    rows = []
    for variant in known:
        file = variant.file
        assert file is not None
        seconds = variant.compress_seconds
        rows.append(
            (
                variant.name,
                *(f"{getattr(file, part):,}" for part in parts),
                f"{file.total:,}",
                ABSENT if variant.sparsity is None else format_share(variant.sparsity),
                ABSENT if seconds is None else format_seconds(seconds),
                file.content_hash[:12],
            )
        )
    columns = ("variant", *parts, "bytes", "zeros", "time to compress", "hash")
    note = (
        "bytes of the saved file by part; zeros: share of the weights; hash: SHA-256 of the file, "
        "in full in the JSON"
    )
    return TextTable(f"{report.title}: what is in the files", note, columns, tuple(rows))


def scales_table(report: Report) -> TextTable | None:
    """Return the targets side by side, a column each; None with fewer than two.

    Parameters
    ----------
    report : Report

    Returns
    -------
    TextTable or None
        Modelled figures carry a ``~``.
    """
    placed = [(v, v.on_target) for v in report if v.on_target is not None]
    if len({figures.target for _, figures in placed}) < 2:
        return None
    columns = [_column(variant, figures) for variant, figures in placed]
    names = [row for row, _ in columns[0]]
    rows = [(name, *(dict(column)[name] for column in columns)) for name in names]
    rows = [row for row in rows if set(row[1:]) != {ABSENT}]
    heads = tuple(
        v.name if v.name == figures.target else f"{v.name} on {figures.target}"
        for v, figures in placed
    )
    note = "~ modelled, not measured: the method below has formula and source of every figure"
    runs = [figures.emulated for _, figures in placed if figures.emulated is not None]
    note += "".join(
        f"; generated C for {run.core}: not run, {run.reason}"
        if run.instructions is None
        else f"; generated C ran on an emulated {run.core} (QEMU): {run.identical} of "
        f"{run.samples} outputs equal to the last bit"
        for run in runs
    )
    return TextTable(f"{report.title}: side by side", note, ("", *heads), tuple(rows))


def _column(variant: Variant, figures: TargetFigures) -> list[tuple[str, str]]:
    run = figures.emulated
    ran = run is not None and run.instructions is not None
    power = figures.power_w
    return [
        ("recipe", variant.recipe),
        ("accuracy", ABSENT if variant.accuracy is None else format_share(variant.accuracy)),
        ("95 % interval", interval_text(variant.accuracy_interval)),
        ("change, 95 % interval", _points(variant.change_interval)),
        ("size of the file", format_bytes(variant.size_bytes)),
        ("latency", marked(format_seconds(figures.latency_s), figures.latency_source)),
        ("memory", marked(format_bytes(figures.ram_bytes), figures.ram_source)),
        ("energy of one inference", marked(format_joules(figures.energy_j), figures.energy_source)),
        (
            "power while it runs",
            ABSENT if power is None else marked(_watts(power), figures.energy_source),
        ),
        ("instructions", f"{run.instructions:,}" if run and ran else ABSENT),
        (
            "flash: code + weights",
            f"{run.code_bytes:,} + {run.weight_bytes:,} bytes" if run and ran else ABSENT,
        ),
        (
            "RAM: arena + stack",
            f"{run.data_bytes:,} + {run.stack_bytes:,} bytes" if run and ran else ABSENT,
        ),
        ("constraints", verdict(variant)),
    ]


def _points(interval: Interval | None) -> str:
    return (
        ABSENT
        if interval is None
        else f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f} points"
    )


def _watts(power: float) -> str:
    return f"{1e3 * power:.3g} mW" if power < 1 else f"{power:.3g} W"


__all__ = ["file_table", "scales_table", "tables_of"]
