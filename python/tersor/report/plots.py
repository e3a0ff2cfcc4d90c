"""Figures of a report with Matplotlib, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .file_parts import PARTS
from .html_charts import PART_COLORS, colors_of

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

        Thin vertical lines are bootstrap intervals.

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
            interval = variant.accuracy_interval
            if interval is not None:
                ends = (100 * interval.low, 100 * interval.high)
                ax.plot((x, x), ends, color=colors[variant.name], alpha=0.4, lw=1.5, zorder=1)
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

    def file_parts(self, ax: Axes | None = None) -> Axes:
        """Draw what the saved files are made of, as stacked bars.

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
            If no file was encoded.
        """
        known = [(v.name, v.file) for v in self._report if v.file is not None]
        if not known:
            raise ValueError("file_parts: the report must have the parts of files, got none")
        ax = self._axes(ax)
        names = [name for name, _ in known]
        left = [0.0] * len(known)
        for part in PARTS:
            sizes = [getattr(file, part) / 1024 for _, file in known]
            if any(sizes):
                ax.barh(names, sizes, left=left, label=part, color=PART_COLORS[part])
            left = [start + size for start, size in zip(left, sizes, strict=True)]
        ax.invert_yaxis()
        ax.legend()
        ax.set(xlabel="size of the file (KB)", title=self._report.title)
        return ax

    def time_to_compress(self, ax: Axes | None = None) -> Axes:
        """Draw how long compressing each variant took.

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
            If no variant noted it.
        """
        known = [v for v in self._report if v.compress_seconds is not None]
        if not known:
            raise ValueError("time_to_compress: the report must have such times, got none")
        ax, colors = self._axes(ax), colors_of(self._report)
        bars = ax.barh(
            [v.name for v in known],
            [v.compress_seconds or 0.0 for v in known],
            color=[colors[v.name] for v in known],
        )
        ax.bar_label(bars, fmt="%.3g", padding=4)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set(xlabel="time to compress (s)", title=self._report.title)
        return ax

    def weights(self, layer: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the weights of a layer before (gray) and after.

        Parameters
        ----------
        layer : str, optional
            By default the one with most weights.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If the layer has no histogram.
        """
        before = {h.layer: h for h in self._report[self._report.baseline].weights}
        if layer is None and before:
            layer = max(before, key=lambda name: before[name].weights)
        if layer not in before:
            known = ", ".join(before) or "none"
            raise ValueError(f"weights: layer must be one of {known}, got {layer!r}")
        ax, colors, base = self._axes(ax), colors_of(self._report), before[layer]
        step = 2 * base.most / len(base.counts)
        edges = [-base.most + i * step for i in range(len(base.counts) + 1)]
        ax.stairs(base.counts, edges, fill=True, color="0.8", label=self._report.baseline)
        for variant in self._report:
            for h in variant.weights:
                if h.layer == layer and variant.name != self._report.baseline:
                    label = f"{variant.name}: {h.distinct:,} values, {100 * h.zeros:.0f} % zeros"
                    ax.stairs(h.counts, edges, color=colors[variant.name], label=label)
        ax.set_yscale("symlog")
        ax.legend(fontsize="small")
        ax.set(xlabel=f"weights of {layer}", ylabel="how many", title=self._report.title)
        return ax

    def sensitivity(self, ax: Axes | None = None) -> Axes:
        """Draw what changing each layer alone does to the output, as a heat map.

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
            If the report has no sensitivity.
        """
        found = self._report.sensitivity
        if found is None:
            raise ValueError(
                "sensitivity: the report must have one: compare(..., sensitivity=...), got none"
            )
        layers = list(dict.fromkeys(effect.layer for effect in found.effects))
        changes = list(dict.fromkeys(effect.what for effect in found.effects))
        grid = [[float("nan")] * len(changes) for _ in layers]
        for effect in found.effects:
            grid[layers.index(effect.layer)][changes.index(effect.what)] = effect.sqnr_db
        ax = self._axes(ax)
        image = ax.imshow(grid, cmap="RdYlGn", vmin=10, vmax=40, aspect="auto")
        ax.set_xticks(range(len(changes)), changes, rotation=30, ha="right")
        ax.set_yticks(range(len(layers)), layers)
        ax.figure.colorbar(image, ax=ax, label="signal to noise of the output (dB)")
        ax.set_title("one layer changed at a time")
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
