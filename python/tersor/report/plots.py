"""Figures of a report with Matplotlib, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .html import colors_of

_TOGETHER = "all layers"

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

    def accuracy_vs_sparsity(self, sensitivity: Any = None, *, ax: Axes | None = None) -> Axes:
        """Draw accuracy against the share of weights that are 0.

        Parameters
        ----------
        sensitivity : Sensitivity, optional
            From ``tersor.sensitivity(graph, data, sparsity=[...])``: adds a curve for each layer
            pruned alone and one for all layers together, and names the three worst. Without labels
            in its data the share of samples whose top-1 class stays is drawn instead, of the
            report's variants too.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If neither the report nor `sensitivity` has what is to be drawn.

        Examples
        --------
        >>> found = tersor.sensitivity(graph, (x, y), sparsity=[0.5, 0.75])  # doctest: +SKIP
        >>> report.plot.accuracy_vs_sparsity(found)                          # doctest: +SKIP
        """
        labeled = sensitivity is None or sensitivity.accuracy is not None
        figure = "accuracy" if labeled else "agreement"
        points = [
            (100 * variant.sparsity, 100 * getattr(variant, figure), variant.name)
            for variant in self._report
            if variant.sparsity is not None and getattr(variant, figure) is not None
        ]
        curves = {} if sensitivity is None else _curves(sensitivity, figure)
        if not points and not curves:
            raise ValueError(
                "accuracy_vs_sparsity: the report must have accuracies, got none (give labeled "
                "data, or a sensitivity with sparsity=[...])"
            )
        ax = self._axes(ax)
        worst = sorted(curves, key=lambda name: min(curves[name][1]))
        named = [name for name in worst if name != _TOGETHER][:3]
        for name, curve in curves.items():
            if name == _TOGETHER:
                ax.plot(*curve, color="black", lw=2, marker="o", label=_TOGETHER, zorder=3)
            elif name in named:
                ax.plot(*curve, lw=1.2, marker=".", label=name, zorder=2)
            else:
                ax.plot(*curve, color="0.8", lw=0.8, zorder=1)
        colors = colors_of(self._report)
        for x, y, name in points:
            ax.scatter(x, y, s=60, color=colors[name], zorder=4)
            ax.annotate(name, (x, y), xytext=(7, 5), textcoords="offset points")
        if curves:
            ax.legend(title="pruned, by magnitude")
        ax.margins(x=0.1, y=0.1)
        what = "top-1 accuracy" if labeled else "samples whose top-1 class stays"
        ax.set(xlabel="weights that are 0 (%)", ylabel=f"{what} (%)", title=self._report.title)
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


def _curves(sensitivity: Any, figure: str) -> dict[str, tuple[list[float], list[float]]]:
    """Sparsity and figure, in percent, of each layer's pruning."""
    start = sensitivity.accuracy if figure == "accuracy" else 1.0
    found: dict[str, list[tuple[float, float]]] = {}
    for effect in sensitivity.effects:
        value = getattr(effect, figure)
        if effect.part == "pruned" and value is not None:
            found.setdefault(effect.layer, [(0.0, start)]).append((effect.sparsity, value))
    curves = {}
    for layer, points in found.items():
        x, y = zip(*sorted(points), strict=True)
        curves[layer] = ([100 * share for share in x], [100 * value for value in y])
    return curves


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plots need Matplotlib: pip install 'tersor[report]'") from None
    return pyplot


__all__ = ["Plots"]
