"""A report as one HTML page that needs neither script nor network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from ..targets.units import format_bytes, format_joules, format_seconds, format_share
from .svg import (
    BASELINE_COLOR,
    COLORS,
    Bar,
    Point,
    bar_chart,
    scatter_chart,
)
from .table import TextTable, losses_table, measured_table, target_table

if TYPE_CHECKING:
    from .report import Report
    from .variant import Variant


def render_html(report: Report, *, fragment: bool = False) -> str:
    """Draw a report.

    Parameters
    ----------
    report : Report
    fragment : bool
        Leave out the frame of the page, for Jupyter.

    Returns
    -------
    str
    """
    style = (resources.files(__package__) / "page.css").read_text("utf-8")
    sections = [_header(report), _tiles(report), _charts(report)]
    sections += [_tables(report), _method(report)]
    content = f'<style>{style}</style><div class="tersor-report">{"".join(sections)}</div>'
    if fragment:
        return content
    page = (resources.files(__package__) / "page.html").read_text("utf-8")
    return Template(page).substitute(title=escape(report.title), content=content)


def _header(report: Report) -> str:
    environment = report.environment
    facts = [f"{len(report)} variants", str(environment["processor"])]
    facts += [f"{environment['isa']}, {report.threads} thread(s)"]
    if report.data:
        facts.append(f"{report.data['samples']:,} samples of {report.data['name']}")
    facts.append(report.created.replace("T", " ").replace("+00:00", " UTC"))
    return f'<h1>{escape(report.title)}</h1><p class="faint">{escape(" · ".join(facts))}</p>'


def _tiles(report: Report) -> str:
    """Show the best of each figure against the baseline."""
    base = report[report.baseline]
    others = [variant for variant in report if variant is not base]
    if not others:
        return ""
    smallest = min(others, key=lambda variant: variant.size_bytes)
    fastest = min(others, key=lambda variant: variant.latency.median_s)
    leanest = min(others, key=lambda variant: variant.peak_memory_bytes)
    tiles = [
        (
            f"{base.size_bytes / max(smallest.size_bytes, 1):.1f}x smaller",
            f"{smallest.name}: {format_bytes(smallest.size_bytes)} of "
            f"{format_bytes(base.size_bytes)}",
        ),
        (
            f"{base.latency.median_s / fastest.latency.median_s:.1f}x faster",
            f"{fastest.name}: {format_seconds(fastest.latency.median_s)} of "
            f"{format_seconds(base.latency.median_s)}, batch 1",
        ),
        (
            f"{base.peak_memory_bytes / max(leanest.peak_memory_bytes, 1):.1f}x less memory",
            f"{leanest.name}: {format_bytes(leanest.peak_memory_bytes)} of "
            f"{format_bytes(base.peak_memory_bytes)}",
        ),
    ]
    known = [variant for variant in others if variant.accuracy is not None]
    if known and base.accuracy is not None:
        worst = min(known, key=lambda variant: variant.accuracy or 0.0)
        change = 100 * ((worst.accuracy or 0.0) - base.accuracy)
        tiles.append(
            (
                f"{change:+.2f} points",
                f"largest change of accuracy, {worst.name}: {format_share(worst.accuracy or 0.0)} "
                f"after {format_share(base.accuracy)}",
            )
        )
    cards = "".join(
        f'<div class="card tile"><b>{escape(head)}</b><span class="faint">{escape(text)}</span>'
        "</div>"
        for head, text in tiles
    )
    return f'<div class="tiles">{cards}</div>'


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


def _charts(report: Report) -> str:
    colors = colors_of(report)
    cards = []
    known = [variant for variant in report if variant.accuracy is not None]
    if known:
        cards.append(_card("Accuracy against size of the file", _scatter(report, known, colors)))
    sizes = [
        Bar(
            v.name,
            v.size_bytes,
            format_bytes(v.size_bytes),
            colors[v.name],
            f"{v.size_bytes:,} bytes",
        )
        for v in report
    ]
    cards.append(_card("Size of the file", bar_chart(sizes, label="size of the file")))
    times = [_latency_bar(variant, colors[variant.name]) for variant in report]
    chart = bar_chart(times, label="latency on this machine")
    cards.append(_card("Latency on this machine: median, tick at p95", chart))
    memory = [
        Bar(v.name, v.peak_memory_bytes, format_bytes(v.peak_memory_bytes), colors[v.name])
        for v in report
    ]
    cards.append(_card("Memory of the session", bar_chart(memory, label="memory of the session")))
    targets = _target_bars(report, colors)
    for title, bars in targets:
        cards.append(_card(title, bar_chart(bars, label=title)))
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


def _latency_bar(variant: Variant, color: str) -> Bar:
    latency = variant.latency
    return Bar(
        variant.name,
        latency.median_s,
        format_seconds(latency.median_s),
        color,
        f"median {format_seconds(latency.median_s)}, mean {format_seconds(latency.mean_s)}, "
        f"p95 {format_seconds(latency.p95_s)}, {latency.runs} runs",
        whisker=latency.p95_s,
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
            f"{t.energy_source}: {t.energy_formula}",
            modelled=True,
        )
        for v, t in placed
    ]
    return [
        ("Latency on the target (hatched: modelled)", latency),
        ("Energy of one inference (modelled)", energy),
    ]


def _placed_name(variant: str, target: str) -> str:
    return variant if variant == target else f"{variant} on {target}"


def _card(title: str, chart: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{chart}</div>'


def _tables(report: Report) -> str:
    tables = [measured_table(report), target_table(report), losses_table(report)]
    return "".join(_table(table) for table in tables if table is not None)


def _table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    title = table.title.rpartition(": ")[2]
    return (
        f"<h2>{escape(title[:1].upper() + title[1:])}</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'</div><p class="faint">{escape(table.note)}</p>'
    )


def _cell(text: str) -> str:
    kind = text if text == "met" else "missed" if text.startswith("missed") else ""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _method(report: Report) -> str:
    """Say how each figure came about."""
    items = [
        ("Size", "bytes of the saved file"),
        (
            "Latency, samples/s",
            "wall-clock time of a call from Python, after warm-up, garbage collection off; "
            "samples/s is batch size over mean time",
        ),
        ("Memory", "packed weights, activations and scratch memory of the session at batch 1"),
        ("Agreement", "share of samples whose top-1 class is the baseline's"),
    ]
    seen = set()
    for variant in report:
        figures = variant.on_target
        if figures is None:
            continue
        for miss in figures.misses:
            items.append((f"Budget of {variant.name}", str(miss)))
        for formula in (figures.latency_formula, figures.energy_formula):
            if formula and (figures.target, formula) not in seen:
                seen.add((figures.target, formula))
                items.append((f"Formula for {figures.target}", formula))
        for source in figures.sources:
            if (figures.target, source) not in seen:
                seen.add((figures.target, source))
                items.append((f"Source for {figures.target}", source))
    versions = ", ".join(f"{name} {value}" for name, value in report.environment.items() if value)
    items.append(("Environment", versions))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items)
    return (
        "<h2>How these figures came about</h2>"
        f"<details><summary>Method, formulas and sources</summary><dl>{listed}</dl></details>"
    )


__all__ = ["colors_of", "render_html"]
