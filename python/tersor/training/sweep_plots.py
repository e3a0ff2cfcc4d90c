"""Pictures of a sweep: parallel coordinates, Pareto front, importance of the choices."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .sweep_result import SweepResult, SweepTrial


def figures(result: SweepResult) -> dict[str, Any]:
    """Return Plotly figures of a sweep.

    Parameters
    ----------
    result : SweepResult

    Returns
    -------
    dict of str to plotly.graph_objects.Figure

    Raises
    ------
    ImportError
        If Plotly is not installed.
    ValueError
        If no trial is complete.
    """
    go = _plotly()
    if not result.complete:
        raise ValueError("sweep: no trial is complete, so there is nothing to draw")
    drawn = {"parallel": _parallel(go, result.complete), "pareto": _pareto(go, result)}
    shares = importance(result)
    if shares:
        drawn["importance"] = _bars(go, shares)
    return drawn


def importance(result: SweepResult) -> dict[str, float]:
    """Return how much each choice matters for the score.

    PED-ANOVA: how different the values of a parameter are among the better trials.

    Parameters
    ----------
    result : SweepResult

    Returns
    -------
    dict of str to float
        Shares that add up to 1, largest first; empty where trials are too few or too alike.

    References
    ----------
    S. Watanabe, A. Bansal, F. Hutter: PED-ANOVA. Efficiently quantifying hyperparameter importance
    in arbitrary subspaces. IJCAI 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len({t.score for t in result.complete}) < 3:
        return {}
    try:
        shares = get_param_importances(result.study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # no choice was made by all trials
        return {}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total > 0 else {}


def page(result: SweepResult) -> str:
    """Return an HTML page with the figures and the table.

    Parameters
    ----------
    result : SweepResult

    Returns
    -------
    str
    """
    drawn = figures(result)
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0)
        for index, figure in enumerate(drawn.values())
    ]
    title = html.escape(f"Sweep {result.study.study_name}")
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:system-ui,sans-serif;max-width:1100px;margin:2rem auto}"
        f"pre{{overflow-x:auto}}</style></head><body><h1>{title}</h1>{body}"
        f"<pre>{html.escape(str(result.table()))}</pre></body></html>\n"
    )


def _parallel(go: Any, trials: tuple[SweepTrial, ...]) -> Any:
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    dimensions: list[dict[str, Any]] = []
    for name in names:
        values = [t.params.get(name) for t in trials]
        kinds = sorted(dict.fromkeys(map(str, values)))
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        if numbers and len(kinds) > 6:
            dimensions.append({"label": name, "values": values})
            continue
        if numbers:
            kinds.sort(key=float)
        places = [kinds.index(str(v)) for v in values]
        ticks = {"tickvals": list(range(len(kinds))), "ticktext": kinds}
        dimensions.append({"label": name, "values": places, **ticks})
    dimensions.append(
        {"label": "size (KB)", "values": [(t.size_bytes or 0) / 1024 for t in trials]}
    )
    dimensions.append(
        {"label": "accuracy (%)", "values": [100 * (t.accuracy or 0) for t in trials]}
    )
    scores = [t.score for t in trials]
    line = {"color": scores, "colorscale": "Viridis", "showscale": True}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions))
    return figure.update_layout(title="Choices, size and accuracy; color is the score")


def _pareto(go: Any, result: SweepResult) -> Any:
    figure = go.Figure()
    front = result.pareto
    for name, trials, mode in (("trials", result.complete, "markers"), ("front", front, "lines")):
        figure.add_scatter(
            x=[(t.size_bytes or 0) / 1024 for t in trials],
            y=[100 * (t.accuracy or 0.0) for t in trials],
            text=[
                f"{t.number}: " + ", ".join(f"{k} {v}" for k, v in t.params.items()) for t in trials
            ],
            mode=mode,
            name=name,
            line={"shape": "hv"},
        )
    figure.update_xaxes(title="size of the file (KB)", type="log")
    figure.update_yaxes(title="accuracy on samples held out (%)")
    return figure.update_layout(title="Accuracy against size")


def _bars(go: Any, shares: dict[str, float]) -> Any:
    names = list(shares)[::-1]
    values = np.array([shares[name] for name in names])
    figure = go.Figure(go.Bar(x=values, y=names, orientation="h"))
    return figure.update_layout(title="Importance for the score (PED-ANOVA)")


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise ImportError("sweep: pictures need Plotly: pip install 'tersor[report]'") from None
    return go


__all__ = ["figures", "importance", "page"]
