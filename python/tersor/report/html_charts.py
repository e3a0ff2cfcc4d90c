"""The charts of a report's page, as cards of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..targets.units import format_bytes, format_joules, format_seconds, format_share
from .file_parts import PARTS
from .intervals import Interval
from .measure import Latency
from .svg import BASELINE_COLOR, COLORS, Bar, Point, bar_chart, scatter_chart
from .svg_histogram import histogram_svg
from .svg_rows import Stack, Strip, distribution_chart, stacked_chart

if TYPE_CHECKING:
    from .report import Report
    from .variant import Variant

PART_COLORS = {
    "values": "#2f7de1",
    "indices": "#0f9d8a",
    "codebooks": "#8b5cf6",
    "scales": "#d9730d",
    "graph": "#e5484d",
    "metadata": "#7d8590",
}


def colors_of(report: Report) -> dict[str, str]:
    """Return a colour for each variant: gray for the baseline, then the palette in turn.

    Parameters
    ----------
    report : Report

    Returns
    -------
    dict of str to str
    """
    others = [variant.name for variant in report if variant.name != report.baseline]
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(others)}
    return {report.baseline: BASELINE_COLOR, **colors}


def chart_cards(report: Report) -> str:
    """Draw what all variants have: quality against size, bytes, time, memory, energy.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
    """
    colors = colors_of(report)
    cards = []
    known = [variant for variant in report if variant.accuracy is not None]
    if known:
        cards.append(_card("Accuracy against size of the file", _scatter(report, known, colors)))
    cards.append(_card("Size of the file, by part", _sizes(report, colors)))
    cards.append(_card(*_latencies(report, colors)))
    memory = [
        Bar(v.name, v.peak_memory_bytes, format_bytes(v.peak_memory_bytes), colors[v.name])
        for v in report
    ]
    cards.append(_card("Memory of the session", bar_chart(memory, label="memory of the session")))
    targets = _target_bars(report, colors)
    for title, bars in targets:
        cards.append(_card(title, bar_chart(bars, label=title)))
    times = [
        Bar(v.name, v.compress_seconds, format_seconds(v.compress_seconds), colors[v.name])
        for v in report
        if v.compress_seconds is not None
    ]
    if times:
        cards.append(_card("Time to compress", bar_chart(times, label="time to compress")))
    return f'<div class="charts">{"".join(cards)}</div>'


def _scatter(report: Report, known: Sequence[Variant], colors: dict[str, str]) -> str:
    points = [
        Point(
            variant.name,
            variant.size_bytes,
            variant.accuracy or 0.0,
            colors[variant.name],
            f"{variant.name}: {format_share(variant.accuracy or 0.0)}, "
            f"{format_bytes(variant.size_bytes)}",
            hollow=variant.name == report.baseline,
            interval=_ends(variant.accuracy_interval),
        )
        for variant in known
    ]
    return scatter_chart(
        points,
        label="accuracy against size of the file",
        x_format=lambda size: format_bytes(size).replace(".00", "").replace(".0 ", " "),
        y_format=lambda share: f"{100 * share:.4g} %",
        x_title="size of the file (logarithmic)",
        y_title="top-1 accuracy",
        y_most=1.0,
    )


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _sizes(report: Report, colors: dict[str, str]) -> str:
    if any(variant.file is None for variant in report):
        bars = [
            Bar(
                v.name,
                v.size_bytes,
                format_bytes(v.size_bytes),
                colors[v.name],
                f"{v.size_bytes:,} bytes",
            )
            for v in report
        ]
        return bar_chart(bars, label="size of the file")
    shown = [p for p in PARTS if any(getattr(v.file, p) for v in report)]
    stacks = [
        Stack(
            v.name,
            format_bytes(v.size_bytes),
            [
                (getattr(v.file, p), PART_COLORS[p], f"{v.name}, {p}: {getattr(v.file, p):,} bytes")
                for p in shown
            ],
        )
        for v in report
    ]
    legend = [(p, PART_COLORS[p]) for p in shown]
    return stacked_chart(stacks, legend, label="size of the file by part")


def _latencies(report: Report, colors: dict[str, str]) -> tuple[str, str]:
    if all(variant.latency.quantiles_s for variant in report):
        strips = [
            Strip(
                v.name,
                f"{format_seconds(v.latency.median_s)}, p95 {format_seconds(v.latency.p95_s)}",
                v.latency.quantiles_s,
                colors[v.name],
                _latency_hint(v.latency),
            )
            for v in report
        ]
        title = "Latency on this machine: all runs up to p95, line at the median"
        return title, distribution_chart(strips, label="latency on this machine")
    bars = [
        Bar(
            v.name,
            v.latency.median_s,
            format_seconds(v.latency.median_s),
            colors[v.name],
            _latency_hint(v.latency),
            whisker=v.latency.p95_s,
        )
        for v in report
    ]
    title = "Latency on this machine: median, tick at p95"
    return title, bar_chart(bars, label="latency on this machine")


def _latency_hint(latency: Latency) -> str:
    return (
        f"median {format_seconds(latency.median_s)}, mean {format_seconds(latency.mean_s)}, "
        f"p95 {format_seconds(latency.p95_s)}, {latency.runs} runs"
    )


def _target_bars(report: Report, colors: dict[str, str]) -> list[tuple[str, list[Bar]]]:
    placed = [(v, v.on_target) for v in report if v.on_target is not None]
    if not placed:
        return []
    latency = [
        Bar(
            _placed_name(v.name, t.target),
            t.latency_s,
            format_seconds(t.latency_s),
            colors[v.name],
            f"{t.latency_source}: {t.latency_formula or 'on this machine'}",
            modelled=t.latency_source == "modelled",
        )
        for v, t in placed
    ]
    energy = [
        Bar(
            _placed_name(v.name, t.target),
            t.energy_j,
            format_joules(t.energy_j),
            colors[v.name],
            f"{t.energy_source}: {t.energy_formula or 'counters of this machine'}",
            modelled=t.energy_source == "modelled",
        )
        for v, t in placed
    ]
    return [
        ("Latency on the target (hatched: modelled)", latency),
        ("Energy of one inference (hatched: modelled)", energy),
    ]


def _placed_name(variant: str, target: str) -> str:
    return variant if variant == target else f"{variant} on {target}"


def _card(title: str, chart: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{chart}</div>'


def sensitivity_card(report: Report) -> str:
    """Draw the heat map of what each layer alone does to the output, where it was measured.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
    """
    if report.sensitivity is None:
        return ""
    return (
        '<h2>Sensitivity of the layers</h2><p class="faint">Signal to noise of the output in dB '
        "when one layer alone is changed: the higher, the less it matters</p>"
        f'<div class="card scroll">{report.sensitivity.plot()}</div>'
    )


def histogram_cards(report: Report) -> str:
    """Draw the weights of the largest layers before and after.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
    """
    before = {h.layer: h for h in report[report.baseline].weights}
    others = [v for v in report if v.name != report.baseline and v.weights]
    if not before or not others:
        return ""
    colors, cards = colors_of(report), []
    for layer, base in before.items():
        found = [(v, h) for v in others for h in v.weights if h.layer == layer]
        hints = [
            f"{v.name}: {h.distinct:,} values, {format_share(h.zeros)} zeros" for v, h in found
        ]
        after = [
            (hint, colors[v.name], h.counts) for hint, (v, h) in zip(hints, found, strict=True)
        ]
        chart = histogram_svg(base.counts, after, most=base.most, label=f"weights of {layer}")
        facts = "; ".join(dict.fromkeys(hints))
        cards.append(
            f'<div class="card"><h3>{escape(layer)}: {base.weights:,} weights</h3>{chart}'
            f'<p class="faint">{escape(facts)}</p></div>'
        )
    keys = "".join(
        f'<span class="key"><i style="background:{colors[v.name]}"></i>{escape(v.name)}</span>'
        for v in others
    )
    return (
        "<h2>Weights before and after</h2>"
        f'<p class="faint">Gray: {escape(report.baseline)}; lines: {keys} The height is '
        "logarithmic. Layers may have been rescaled against each other, which moves no output."
        f'</p><div class="histograms">{"".join(cards)}</div>'
    )


__all__ = ["PART_COLORS", "chart_cards", "colors_of", "histogram_cards", "sensitivity_card"]
