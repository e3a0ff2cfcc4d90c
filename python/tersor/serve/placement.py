"""Where to run a cascade: in the cloud, on the device, or split between them (modelled)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..base.schema import check_integer, check_keys
from ..report.layers import layer_costs
from ..targets.cost_model import model_latency
from ..targets.target import Target
from ..targets.units import format_seconds, parse_quantity
from .cascade import Cascade
from .cascade_curve import CascadeFigures
from .link import Link

if TYPE_CHECKING:
    from ..base.printed_table import PrintedTable

_TIMES = ("edge_small", "edge_large", "cloud_large")


@dataclass(frozen=True)
class Placement:
    """One way to run a cascade.

    Attributes
    ----------
    name : str
    what : str
        Which network runs where.
    median_s, p95_s, p99_s : float
        Seconds from having a sample to having an answer; infinite where none comes.
    misses : float
        Share of the samples without an answer at the deadline.
    fallback : float
        Share of the samples that the small network answers since the server is late.
    sent : float
        Share of the samples that go over the network.
    accuracy : float or None
        Right answers in time; a missed deadline counts as wrong.
    label : str
        Always ``"modelled"``.
    """

    name: str
    what: str
    median_s: float
    p95_s: float
    p99_s: float
    misses: float
    fallback: float
    sent: float
    accuracy: float | None
    label: str = "modelled"


@dataclass(frozen=True)
class Placements:
    """Ways to run a cascade, side by side: what :func:`compare_placements` returns.

    Attributes
    ----------
    rows : tuple of Placement
        "cloud", "edge", "edge cascade" and "hybrid".
    deadline_s : float
    link : Link
    times_s : mapping of str to float
        Seconds of one sample: ``edge_small``, ``edge_large``, ``cloud_large``.
    sources : mapping of str to str
        ``"given"``, or the formula of the model.
    label : str
        Always ``"modelled"``.
    """

    rows: tuple[Placement, ...]
    deadline_s: float
    link: Link
    times_s: Mapping[str, float]
    sources: Mapping[str, str]
    label: str = "modelled"

    def __getitem__(self, name: str) -> Placement:
        """Return a row by its name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def best(self) -> Placement:
        """Row with the most right answers in time; without labels the fewest misses; then fast."""
        return max(
            self.rows,
            key=lambda row: (
                row.accuracy if row.accuracy is not None else -row.misses,
                -row.misses,
                -row.p95_s,
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data.

        Returns
        -------
        dict
            Times that never end are None.
        """
        rows = [
            {k: None if v == math.inf else v for k, v in asdict(row).items()} for row in self.rows
        ]
        return {
            "label": self.label,
            "deadline_s": self.deadline_s,
            "link": self.link.to_dict(),
            "times_s": dict(self.times_s),
            "sources": dict(self.sources),
            "placements": rows,
        }

    def table(self) -> PrintedTable:
        """Return the rows as a table.

        Returns
        -------
        PrintedTable
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(
            title=f"modelled, deadline {format_seconds(self.deadline_s)}", title_justify="left"
        )
        table.add_column("")
        for name in ("median", "p95", "p99", "late", "answered small", "sent", "right in time"):
            table.add_column(name, justify="right")
        for row in self.rows:
            times = (row.median_s, row.p95_s, row.p99_s)
            table.add_row(
                row.name,
                *("never" if t == math.inf else format_seconds(t) for t in times),
                *(f"{100 * share:.2f} %" for share in (row.misses, row.fallback, row.sent)),
                "" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
            )
        return table


def compare_placements(
    cascade: Cascade,
    figures: CascadeFigures | float,
    *,
    link: Link | float | str,
    deadline: float | str = "50 ms",
    edge: str | Path | Target = "edge",
    cloud: str | Path | Target = "cloud",
    times: Mapping[str, float | str] | None = None,
    request_bytes: float | str | None = None,
    samples: int = 100_000,
    seed: int = 0,
) -> Placements:
    """Model end-to-end latency and missed deadlines of a cascade, by where its networks run.

    - "cloud": every sample is sent, the large network answers;
    - "edge": the large network runs on the device;
    - "edge cascade": both run on the device;
    - "hybrid": the small network runs on the device and what it is unsure of is sent; where the
      answer is not there at the deadline, the small network's counts.

    Parameters
    ----------
    cascade : Cascade
    figures : CascadeFigures or float
        What it does on data (:meth:`Cascade.evaluate`), or only the share of samples that go on.
    link : Link, float or str
        Between device and server, or a mean round trip such as ``"30 ms"``.
    deadline : float or str
    edge, cloud : str, Path or Target
        Profiles of the device and of the server, one core each.
    times : mapping, optional
        Seconds of one sample where they are known: ``edge_small``, ``edge_large``,
        ``cloud_large``. The others are modelled from the profiles.
    request_bytes : int or str, optional
        Of a sample as it is sent and its answer; by default a byte for each input value.
    samples : int
        That are drawn.
    seed : int

    Returns
    -------
    Placements

    Raises
    ------
    ValueError
        If a quantity is out of range.

    Examples
    --------
    >>> from tersor.zoo import load_digits_network
    >>> cascade = Cascade(load_digits_network(), load_digits_network(), threshold=0.5)
    >>> found = compare_placements(cascade, 0.1, link=Link("30 ms", jitter="10 ms", loss="1 %"))
    >>> found["edge"].misses, found["hybrid"].sent < 0.12
    (0.0, True)
    """
    check_integer(samples, least=1, what="compare_placements: samples")
    wire = Link.parse(link)
    limit = parse_quantity(deadline, "s", what="compare_placements: deadline")
    share = figures.escalation if isinstance(figures, CascadeFigures) else float(figures)
    if not 0 <= share <= 1:
        raise ValueError(f"compare_placements: figures must be a share in [0, 1], got {share!r}")
    seconds, sources = _times(cascade, times, Target.load(edge), Target.load(cloud))
    if request_bytes is None:
        request_bytes = _input_values(cascade)
    random = np.random.default_rng(seed)
    remote = wire.draw(random, samples, request_bytes) + seconds["cloud_large"]
    goes_on = random.random(samples) < share
    split = np.where(goes_on, seconds["edge_small"] + remote, seconds["edge_small"])
    late = goes_on & ~(split <= limit)
    falls_back = seconds["edge_small"] <= limit
    # The small network's answer is at hand and is given at the deadline.
    answered = np.where(late, limit, split) if falls_back else split
    both = seconds["edge_small"] + np.where(goes_on, seconds["edge_large"], 0.0)
    one = np.full(samples, seconds["edge_large"])
    late_share = float(late.mean()) if falls_back else 0.0
    known = figures if isinstance(figures, CascadeFigures) else None
    large = None if known is None else known.large_accuracy
    sent = float(goes_on.mean())
    rows = (
        _row("cloud", "large network on the server", remote, limit, large, sent=1.0),
        _row("edge", "large network on the device", one, limit, large),
        _row(
            "edge cascade",
            "both networks on the device",
            both,
            limit,
            _cascade_accuracy(known, both[goes_on], limit, seconds["edge_small"], False),
        ),
        _row(
            "hybrid",
            "small network on the device, large one on the server",
            answered,
            limit,
            _cascade_accuracy(known, split[goes_on], limit, seconds["edge_small"], True),
            sent=sent,
            fallback=late_share,
        ),
    )
    return Placements(rows, limit, wire, seconds, sources)


def _row(
    name: str,
    what: str,
    times: NDArray[np.float64],
    limit: float,
    accuracy: float | None,
    *,
    sent: float = 0.0,
    fallback: float = 0.0,
) -> Placement:
    ordered = np.sort(times)
    # Nearest rank, as of measured latencies; infinity sorts last.
    median, p95, p99 = (
        float(ordered[math.ceil(share * len(times)) - 1]) for share in (0.5, 0.95, 0.99)
    )
    misses = float((~(times <= limit)).mean())
    if accuracy is not None and name in ("cloud", "edge"):
        accuracy *= 1 - misses
    return Placement(name, what, median, p95, p99, misses, fallback, sent, accuracy)


def _cascade_accuracy(
    figures: CascadeFigures | None,
    times: NDArray[np.float64],
    limit: float,
    small_s: float,
    falls_back: bool,
) -> float | None:
    """Right answers in time, from the times of the samples that go on."""
    if figures is None or figures.accuracy is None:
        return None
    if small_s > limit:
        return 0.0
    joint, small = figures.joint_on_escalated or 0.0, figures.small_on_escalated or 0.0
    late = float((~(times <= limit)).mean()) if len(times) else 0.0
    return figures.accuracy - figures.escalation * late * (joint - small * falls_back)


def _times(
    cascade: Cascade, given: Mapping[str, float | str] | None, edge: Target, cloud: Target
) -> tuple[dict[str, float], dict[str, str]]:
    known = check_keys(given or {}, allowed=_TIMES, what="compare_placements: times")
    seconds, sources = {}, {}
    for name in _TIMES:
        if name in known:
            seconds[name] = parse_quantity(known[name], "s", what=f"times {name}")
            sources[name] = "given"
            continue
        place, size = name.split("_")
        session = getattr(cascade, size)
        target = edge if place == "edge" else cloud
        estimate = model_latency(target, layer_costs(session.graph, precision=session.precision))
        seconds[name], sources[name] = estimate.value, f"{target.name}: {estimate.formula}"
    return seconds, sources


def _input_values(cascade: Cascade) -> int:
    graph = cascade.large.graph
    shape = graph.edges[graph.input_ids[0]].shape
    return math.prod(1 if length is None else int(length) for length in shape)


__all__ = ["Placement", "Placements", "compare_placements"]
