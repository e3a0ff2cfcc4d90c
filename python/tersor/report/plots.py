"""Figures of a report with Matplotlib, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .html import colors_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .report import Report


class Plots:
    """What ``report.plot`` gives; each method draws one picture and returns its axes.

    Parameters
    ----------
    report : Report

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._pyplot = _pyplot()

    def pareto(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy against file size, with the variants that none beats joined.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If no accuracy was measured.
        """
        known = [variant for variant in self._report if variant.accuracy is not None]
        if not known:
            raise ValueError(
                "pareto: the report must have accuracies, got none (give labeled data)"
            )
        ax = self._axes(ax)
        colors = colors_of(self._report)
        best, front = -1.0, []
        for variant in sorted(known, key=lambda v: (v.size_bytes, -(v.accuracy or 0.0))):
            if (variant.accuracy or 0.0) > best:
                best = variant.accuracy or 0.0
                front.append((variant.size_bytes / 1024, 100 * best))
        ax.step(*zip(*front, strict=True), where="post", color="0.6", ls="--", lw=1, zorder=1)
        for variant in known:
            x, y = variant.size_bytes / 1024, 100 * (variant.accuracy or 0.0)
            ax.scatter(x, y, s=60, color=colors[variant.name], zorder=2)
            ax.annotate(variant.name, (x, y), xytext=(7, 5), textcoords="offset points")
        ax.set_xscale("log", base=2)
        ax.margins(x=0.15, y=0.15)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set(xlabel="size of the file (KB)", ylabel="top-1 accuracy (%)")
        ax.set_title(self._report.title)
        ax.grid(alpha=0.3)
        return ax

    def latency(self, ax: Axes | None = None) -> Axes:
        """Draw the median latency on this machine as bars, with a whisker to the 95th percentile.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = self._axes(ax)
        colors = colors_of(self._report)
        names = [variant.name for variant in self._report]
        medians = [1e3 * variant.latency.median_s for variant in self._report]
        above = [
            1e3 * max(variant.latency.p95_s - variant.latency.median_s, 0.0)
            for variant in self._report
        ]
        bars = ax.barh(
            names,
            medians,
            xerr=[[0.0] * len(above), above],
            color=[colors[name] for name in names],
            capsize=3,
        )
        ax.bar_label(bars, fmt="%.3g", padding=6)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set(xlabel="latency at batch 1 (ms), whisker to p95", title=self._report.title)
        return ax

    def _axes(self, ax: Axes | None) -> Axes:
        if ax is None:
            _, ax = self._pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
        return ax


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plots need Matplotlib: pip install 'tersor[report]'") from None
    return pyplot


__all__ = ["Plots"]
