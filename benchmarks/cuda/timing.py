"""Times of calls on a device: the host's part hidden, caches cold where a family says so."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

_CLOCK_HZ = 2.0e9  # a sleep must only be long enough


def milliseconds(torch: Any, run: Callable[[], Any], calls: int = 10, repeats: int = 9) -> float:
    """Median time of a call on the device, of calls that follow one another.

    The device sleeps until the host has enqueued all of them, so that launches cost nothing unless
    the device waits for them.

    Parameters
    ----------
    torch : module
    run : callable
        Enqueues one call.
    calls : int, default 10
        Between two events.
    repeats : int, default 9

    Returns
    -------
    float
    """
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int((2 * host + 1e-3) * _CLOCK_HZ))
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / calls)
    return statistics.median(times)


def graph_milliseconds(torch: Any, run: Callable[[], Any], repeats: int = 25) -> float:
    """Median time of a CUDA graph of a call, for calls of many small kernels.

    Parameters
    ----------
    torch : module
    run : callable
        Enqueues on torch's current stream, without waiting for it.
    repeats : int, default 25

    Returns
    -------
    float
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()
    times = milliseconds(torch, graph.replay, calls=4, repeats=repeats)
    del kept
    return times


__all__ = ["graph_milliseconds", "milliseconds"]
