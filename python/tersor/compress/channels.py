"""``tersor.compress.prune_channels``: a physically smaller network, without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..base.plain_text import plain_text
from ..base.threads import get_threads
from ..data.error import DataError
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..graph.channels import remove_channels
from ..runtime import Session
from .calibrate import Progress, network_batches
from .channel_budget import RemovalPlan
from .channel_criteria import find_units, rank_units
from .float_twin import float_twin
from .layer_format import check_choice
from .progress import reporter
from .refit import refit_network
from .removal_order import LAYERS, RemovalOrder

if TYPE_CHECKING:
    from rich.table import Table

CRITERIA = ("activation", "l1", "l2")
_SECONDS = 0.15  # of one latency measurement; the least of many calls
_PROFILE_RUNS = 30
_RETRIES = 3


@dataclass(frozen=True)
class ShrunkNetwork:
    """A network with fewer channels.

    Attributes
    ----------
    graph : Graph
        Float, run once before it was returned.
    channels : dict of str to (int, int)
        By layer whose output shrank: channels kept, channels before.
    fixed : list of str
        Layers whose channels had to stay, and why.
    macs, parameters : (int, int)
        After and before.
    latency_ms : (float, float) or None
        Measured here, batch of one, the least of many calls, where latency was the budget.
    """

    graph: Graph
    channels: dict[str, tuple[int, int]]
    fixed: list[str]
    macs: tuple[int, int]
    parameters: tuple[int, int]
    latency_ms: tuple[float, float] | None = None

    def summary(self) -> Table:
        """Describe what is left in a table.

        Returns
        -------
        rich.table.Table
            Channels of every layer that shrank; totals below.
        """
        from rich.table import Table

        rows = [("MACs", self.macs), ("parameters", self.parameters)]
        totals = [f"{name} {a:,} of {b:,} ({a / b:.0%})" for name, (a, b) in rows]
        if self.latency_ms is not None:
            now, before = self.latency_ms
            totals.append(f"latency {now:.3f} of {before:.3f} ms ({now / before:.0%})")
        table = Table(
            caption=plain_text("\n".join(totals), "table.caption"), caption_justify="left"
        )
        table.add_column("layer")
        table.add_column("channels", justify="right")
        table.add_column("before", justify="right")
        for name, (kept, count) in self.channels.items():
            table.add_row(plain_text(name), str(kept), str(count))
        return table


def prune_channels(
    graph: Graph,
    data: Any = None,
    *,
    macs: float | None = None,
    parameters: float | None = None,
    latency: float | None = None,
    keep: float | None = None,
    criterion: str = "activation",
    scores: Mapping[str, Any] | None = None,
    multiple: int = 1,
    exclude: Sequence[str] = (),
    refit: bool = True,
    samples: int = 1024,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> ShrunkNetwork:
    """Remove channels from a network and repair what is left, without training.

    Channels that a residual sum, a gate or a depthwise convolution ties together go together. Which
    ones go follows from what their absence costs the layers that read them after those made good
    what they could, measured on the samples, weighed by what that does to the network's output,
    against what it saves. Then every layer is refitted by least squares to what it gave before.

    Parameters
    ----------
    graph : Graph
        A float network. Not changed.
    data : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples, about 1,000; may be None for "l1" and "l2" with ``refit=False``.
    macs, parameters, latency : float, optional
        The budget, exactly one: the share of multiply-accumulates, of parameters, or of the time
        that the session needs for one sample here (measured), in (0, 1).
    keep : float, optional
        Instead of a budget: every set of interchangeable channels keeps this share, in (0, 1).
    criterion : {"activation", "l1", "l2"}
        What a channel is worth: the squared error that it leaves in the layers that read it, or the
        norm of its filters.
    scores : mapping of str to array-like, optional
        Instead: by layer, a number per output channel, for instance a Taylor criterion or the gamma
        of the BatchNorm that was folded into it. Low ones go first.
    multiple : int, default 1
        Widths that shrink are rounded to it, where the network allows it.
    exclude : sequence of str
        Patterns of layers whose output channels stay.
    refit : bool, default True
        Repair by least squares; needs data.
    samples : int, default 1024
        Used at most.
    preprocess : Preprocess, optional
        For raw samples (uint8); by default what the graph carries.
    seed : int, default 0
        Draws the samples.
    progress : bool or callable, default False
        True shows a bar; a callable gets ``(stage, done, total)``.

    Returns
    -------
    ShrunkNetwork
        `graph` has run once.

    Raises
    ------
    ValueError
        If not exactly one budget is given, one is out of range or cannot be reached, or nothing can
        be removed.
    DataError
        If samples are needed and missing, or do not fit.
    GraphError
        If the network is quantized.

    References
    ----------
    He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017 (least-squares
    reconstruction); Liu et al., "Learning Efficient Convolutional Networks through Network
    Slimming", 2017 (scores from BatchNorm).

    Examples
    --------
    >>> small = tersor.compress.prune_channels(graph, images, latency=0.6)  # doctest: +SKIP
    >>> small.summary()                                                        # doctest: +SKIP
    """
    budget = budget_of(macs=macs, parameters=parameters, latency=latency, keep=keep)
    check_choice(criterion, CRITERIA, "prune_channels: criterion")
    if any(edge.is_constant and edge.dtype in ("float16", "bfloat16") for edge in graph.edges):
        graph = float_twin(graph)
    channels = find_units(graph, exclude)
    threads = get_threads()
    measured = scores is None and criterion == "activation"
    batches: list[list[NDArray[Any]]] = []
    if measured or refit:
        if data is None:
            raise DataError(
                "prune_channels: data must be given for criterion 'activation' and for refit, got "
                "None"
            )
        prepare = preprocess or Preprocess.parse(graph.preprocess or None)
        batches = list(network_batches(graph, data, prepare, limit=samples, seed=seed))
    with reporter(progress) as report:
        orders = rank_units(
            graph,
            channels,
            criterion,
            scores=scores,
            batches=batches,
            threads=threads,
            progress=report,
        )
        mask = choose_units(graph, channels, orders, budget, multiple, threads)
        small = remove_channels(graph, channels, mask)
        if refit:
            kept = kept_places(graph, channels, mask)
            refit_network(graph, small, kept, batches, threads=threads, progress=report)
    return _result(graph, small, channels, mask, budget[0] == "latency", threads)


def budget_of(**given: float | None) -> tuple[str, float]:
    """Return the one budget that is given, checked.

    Parameters
    ----------
    **given : float or None
        Shares by name.

    Returns
    -------
    (str, float)

    Raises
    ------
    ValueError
        If none or several are given, or one is not in (0, 1).
    """
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise ValueError(
            f"prune_channels: budget must be exactly one of {', '.join(given)}, got "
            f"{', '.join(named) or 'none'}"
        )
    ((name, value),) = named.items()
    if not 0 < value < 1:
        raise ValueError(f"prune_channels: {name} must be a share in (0, 1), got {value}")
    return name, float(value)


def choose_units(
    graph: Graph,
    channels: Any,
    orders: Sequence[RemovalOrder],
    budget: tuple[str, float],
    multiple: int,
    threads: int,
) -> NDArray[np.bool_]:
    """Choose the units that stay under a budget.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    orders : sequence of RemovalOrder
    budget : (str, float)
        "macs", "parameters", "latency" or "keep", and a share.
    multiple : int
        Of which widths are kept.
    threads : int
        Of sessions whose latency is measured.

    Returns
    -------
    ndarray of bool, shape (units,)

    Raises
    ------
    ValueError
        If the budget cannot be reached.
    """
    if isinstance(multiple, bool) or not isinstance(multiple, (int, np.integer)) or multiple < 1:
        raise ValueError(f"prune_channels: multiple must be an integer >= 1, got {multiple!r}")
    name, share = budget
    if name == "keep":
        return _same_share(orders, share, multiple, len(channels.units))
    saved = _layer_times(graph, threads) if name == "latency" else name
    plan = RemovalPlan(graph, channels, orders, multiple, saved)
    return _fit(graph, channels, plan, name, share, threads)


def _layer_times(graph: Graph, threads: int) -> dict[str, float]:
    """Microseconds of every layer for one sample: MACs of wide and narrow layers differ in cost."""
    session = Session(float_twin(graph), threads)
    profile = session.profile(*[_zeros(edge) for edge in graph.inputs], repeats=_PROFILE_RUNS)
    return {name: layer.time_us for layer in profile for name in layer.node.split(" + ")}


def _same_share(
    orders: Sequence[RemovalOrder], share: float, multiple: int, units: int
) -> NDArray[np.bool_]:
    mask = np.ones(units, np.bool_)
    for order in orders:
        count = len(order.units)
        stay = max(min(multiple, count), round(share * count / multiple) * multiple)
        mask[order.units[: max(0, count - stay)]] = False
    return mask


def _fit(
    graph: Graph, channels: Any, plan: RemovalPlan, name: str, share: float, threads: int
) -> NDArray[np.bool_]:
    """The least removal found that meets the budget."""
    whole = float_twin(graph)  # what will run: BatchNorm is folded
    call = _call(whole, threads) if name == "latency" else None

    def size(mask: NDArray[np.bool_]) -> float:
        small = remove_channels(graph, channels, mask)
        if name == "parameters":
            return small.parameters / graph.parameters
        small = float_twin(small)
        if call is None:
            return small.macs / whole.macs
        # Where a session's memory lies changes its speed, at times by a fifth: the slower of two.
        *now, before = least_seconds([_call(small, threads), _call(small, threads), call])
        return max(now) / before

    least = size(plan.keep(range(len(plan))))
    if least > share:
        raise ValueError(
            f"prune_channels: {name} must be at least {least:.3f}, which is left when every layer "
            f"keeps its fewest channels, got {share}"
        )
    mask = plan.fit(lambda mask: size(mask) <= share)
    if call is not None:
        # Of many measurements the lucky ones were taken: ask again, and for less.
        wanted = share
        for _ in range(_RETRIES):
            found = float(np.median([size(mask) for _ in range(3)]))
            if found <= share:
                break
            wanted *= 0.98 * share / found
            mask = plan.fit(lambda mask, wanted=wanted: size(mask) <= wanted)  # type: ignore[misc]
    return mask


def _call(graph: Graph, threads: int) -> Callable[[], Any]:
    """A run of one sample."""
    session, x = Session(graph, threads), [_zeros(edge) for edge in graph.inputs]
    return lambda: session(*x)


def least_seconds(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Measure calls in turn: other work on the machine only adds.

    Parameters
    ----------
    calls : sequence of callable

    Returns
    -------
    list of float
        Least seconds of each.
    """
    for _ in range(3):
        for call in calls:
            call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + _SECONDS * len(calls)
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def _zeros(edge: Any) -> NDArray[Any]:
    return np.zeros([1 if d is None else d for d in edge.shape], edge.dtype)


def kept_places(
    graph: Graph, channels: Any, mask: NDArray[np.bool_]
) -> dict[str, tuple[int, NDArray[np.int64]]]:
    """Return what stays of the edges that shrink.

    Parameters
    ----------
    graph : Graph
    channels : Channels
    mask : ndarray of bool, shape (units,)
        Units that stay.

    Returns
    -------
    dict of str to (int, ndarray)
        By edge, its axis and the places that stay.
    """
    out = {}
    for edge, axis, units in zip(graph.edges, channels.axes, channels.units_of, strict=True):
        index = np.asarray(units, np.int64)
        stays = (index < 0) | mask[index]
        if axis >= 0 and not stays.all():
            out[edge.name] = (int(axis), np.flatnonzero(stays))
    return out


def _result(
    graph: Graph,
    small: Graph,
    channels: Any,
    mask: NDArray[np.bool_],
    timed: bool,
    threads: int,
) -> ShrunkNetwork:
    outputs = Session(small, threads)(*[_zeros(edge) for edge in small.inputs])
    for out in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
        if not np.isfinite(np.asarray(out)).all():
            raise ValueError("prune_channels: graph must give finite values, got others")
    kept = kept_places(graph, channels, mask)
    layers = {}
    for node in graph.nodes:
        edge = graph.edges[node.outputs[0]]
        if node.op in LAYERS and edge.name in kept:
            axis, places = kept[edge.name]
            layers[node.name] = (len(places), int(edge.shape[axis]))
    latency = None
    if timed:
        now, before = least_seconds([_call(float_twin(each), threads) for each in (small, graph)])
        latency = (1e3 * now, 1e3 * before)
    return ShrunkNetwork(
        small,
        layers,
        list(channels.fixed),
        (small.macs, graph.macs),
        (small.parameters, graph.parameters),
        latency,
    )


__all__ = [
    "CRITERIA",
    "ShrunkNetwork",
    "budget_of",
    "choose_units",
    "kept_places",
    "least_seconds",
    "prune_channels",
]
