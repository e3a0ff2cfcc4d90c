"""Latency and memory on this machine: warm-up, counted runs, quantiles."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.schema import check_integer

WARMUP_RUNS = 10
COUNTED_RUNS = 100


@dataclass(frozen=True)
class Latency:
    """Times of the counted runs, in seconds.

    Attributes
    ----------
    mean_s, median_s, p95_s, min_s, std_s : float
        Seconds of one run; p95 is the nearest rank, so it was really seen.
    runs, warmup : int
        Runs that count, and runs before that do not.
    batch : int
        Samples in a run.
    quantiles_s : tuple of float
        Seconds at 0, 5, ... 100 % of the runs, by nearest rank; empty where they are not known.
    """

    mean_s: float
    median_s: float
    p95_s: float
    min_s: float
    std_s: float
    runs: int
    warmup: int
    batch: int = 1
    quantiles_s: tuple[float, ...] = ()

    @property
    def samples_per_s(self) -> float:
        """Samples per second at the mean: what a long run reaches."""
        return self.batch / self.mean_s if self.mean_s > 0 else math.inf

    @classmethod
    def from_times(cls, times_s: Sequence[float], *, warmup: int, batch: int = 1) -> Latency:
        """Summarize times.

        Parameters
        ----------
        times_s : sequence of float
            Seconds of each counted run, at least one.
        warmup, batch : int
            As the attributes.

        Returns
        -------
        Latency

        Examples
        --------
        >>> Latency.from_times([1.0, 2.0, 6.0], warmup=10).median_s
        2.0
        """
        ordered = sorted(times_s)
        count = len(ordered)
        if count == 0:
            raise ValueError("Latency: times_s must have at least one run, got none")
        mean = math.fsum(ordered) / count
        middle = count // 2
        median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        variance = math.fsum((seconds - mean) ** 2 for seconds in ordered) / count
        return cls(
            mean_s=mean,
            median_s=median,
            p95_s=ordered[math.ceil(0.95 * count) - 1],
            min_s=ordered[0],
            std_s=math.sqrt(variance),
            runs=count,
            warmup=warmup,
            batch=batch,
            quantiles_s=tuple(ordered[max(0, math.ceil(p * count / 20) - 1)] for p in range(21)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes and `samples_per_s` as plain data.

        Returns
        -------
        dict
        """
        return {
            "mean_s": self.mean_s,
            "median_s": self.median_s,
            "p95_s": self.p95_s,
            "min_s": self.min_s,
            "std_s": self.std_s,
            "runs": self.runs,
            "warmup": self.warmup,
            "batch": self.batch,
            "samples_per_s": self.samples_per_s,
            "quantiles_s": list(self.quantiles_s),
        }


def measure_latency(
    run: Callable[[], Any],
    *,
    warmup: int = WARMUP_RUNS,
    runs: int = COUNTED_RUNS,
    batch: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time a call.

    Parameters
    ----------
    run : callable
        What is timed, without arguments; its result is dropped.
    warmup, runs : int
        Runs before, at least 0, and counted runs, at least 1.
    batch : int
        Samples in a run, at least 1; for `samples_per_s`.
    clock : callable
        Returns seconds; monotonic.

    Returns
    -------
    Latency

    Raises
    ------
    ValueError
        If a count is out of range.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> measure_latency(lambda: None, warmup=1, runs=5).runs
    5
    """
    for name, value, least in (("warmup", warmup, 0), ("runs", runs, 1), ("batch", batch, 1)):
        check_integer(value, least=least, what=f"measure_latency: {name}")
    # The collector of garbage must not run inside a counted run. A collection before would take a
    # quarter of a second beside PyTorch.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(warmup):
            run()
        times = []
        for _ in range(runs):
            start = clock()
            run()
            times.append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return Latency.from_times(times, warmup=warmup, batch=batch)


def peak_rss_bytes() -> int:
    """Return the most memory that this process ever held.

    It includes the interpreter and everything imported, and never falls: compare processes, not
    moments of one.

    Returns
    -------
    int
        Bytes; 0 where it is not known.
    """
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


__all__ = ["COUNTED_RUNS", "WARMUP_RUNS", "Latency", "measure_latency", "peak_rss_bytes"]
