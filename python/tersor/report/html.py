"""A report as one HTML page that needs neither script nor network."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from ..targets.units import format_bytes, format_seconds, format_share
from .html_charts import chart_cards, histogram_cards, sensitivity_card
from .table import TextTable
from .tables import scales_table, tables_of

if TYPE_CHECKING:
    from .report import Report


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
    scales = scales_table(report)
    sections = [_header(report), _tiles(report), _table(scales, "side") if scales else ""]
    sections += [chart_cards(report), _tables(report)]
    sections += [sensitivity_card(report), histogram_cards(report), _method(report)]
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


def _tables(report: Report) -> str:
    """Draw all but the table of scales, which stands at the top."""
    scales = scales_table(report)
    tables = tables_of(report)
    return "".join(_table(t) for t in tables if scales is None or t.title != scales.title)


def _table(table: TextTable, kind: str = "") -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    title = table.title.rpartition(": ")[2]
    return (
        f"<h2>{escape(title[:1].upper() + title[1:])}</h2>"
        f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="faint">{escape(table.note)}</p>'
    )


def _cell(text: str) -> str:
    kind = text if text == "met" else "missed" if text.startswith("missed") else ""
    kind = kind or ("long" if len(text) > 44 else "")
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
        (
            "Intervals",
            "95 % of 10,000 bootstrap resamples of the test samples; of a change in pairs, so that "
            "samples that both networks get right or wrong cancel",
        ),
        ("Time to compress", "wall-clock time of tersor.compress, as the model noted it"),
    ]
    for variant in report:
        if variant.energy is not None:
            items.append(
                (
                    f"Energy of {variant.name} here",
                    f"{1e3 * variant.energy.joules:.4g} mJ an inference over "
                    f"{variant.energy.calls:,} calls: {variant.energy.source}",
                )
            )
        if variant.file is not None:
            items.append((f"Hash of {variant.name}", f"SHA-256 {variant.file.content_hash}"))
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


__all__ = ["render_html"]
