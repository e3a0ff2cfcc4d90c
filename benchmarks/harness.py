"""Timing for benchmarks: warm up, take turns, report medians, keep everything as JSON.

A benchmark file builds cases and hands them over::

    def cases():
        yield Case("quantize_affine", {"n": 65536}, {"numpy": f, "tersor": g}, bytes=5 * 65536)

    if __name__ == "__main__":
        main(__doc__, cases)

With ``--isas``, contenders whose name starts with ``tersor`` run once per instruction-set level.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import tersor

PEERS = ("numpy", "ml_dtypes", "torch", "onnxruntime", "openvino", "ai-edge-litert", "scikit-learn")


@dataclass
class Case:
    """One operation on one input, by several contenders.

    ``bytes`` (moved) or ``operations`` add a GB/s or GOP/s column; ``baseline`` names the
    contender that the others are divided by (default: the first).
    """

    op: str
    sizes: dict[str, Any]
    contenders: dict[str, Callable[[], Any]]
    bytes: float = 0
    operations: float = 0
    baseline: str = ""
    quality: dict[str, float] = field(default_factory=dict)


def machine() -> dict[str, Any]:
    """Describe where and with what the figures were measured."""
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "tersor": tersor.config(),
        "versions": versions,
    }


def measure(
    contenders: dict[str, Callable[[], Any]], *, repeat: int = 21, seconds: float = 0.02
) -> dict[str, dict[str, float]]:
    """Median, minimum and 95th percentile of a call, in seconds.

    Contenders take turns, so that a change of clock or a busy neighbour meets all of them. One
    sample is as many calls as fill `seconds` / 10, so that a call of 1 us is not measured by a
    clock of 50 ns.
    """
    calls = {}
    for name, fn in contenders.items():
        fn()  # page faults, lazy imports, just-in-time compilers
        start = time.perf_counter()
        fn()
        once = max(time.perf_counter() - start, 1e-7)
        for _ in range(min(1000, int(seconds / once))):
            fn()
        calls[name] = max(1, int(seconds / 10 / once))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeat):
            for name, fn in contenders.items():
                start = time.perf_counter()
                for _ in range(calls[name]):
                    fn()
                samples[name].append((time.perf_counter() - start) / calls[name])
    finally:
        if enabled:
            gc.enable()
    return {
        name: {
            "median_s": statistics.median(times),
            "min_s": min(times),
            "p95_s": sorted(times)[int(0.95 * (len(times) - 1))],
        }
        for name, times in samples.items()
    }


def run(
    cases: Iterable[Case], *, repeat: int = 21, isas: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Measure every case; one row of plain data per contender."""
    rows = []
    levels = list(isas)
    for case in cases:
        contenders = {}
        for name, fn in case.contenders.items():
            if levels and name.startswith("tersor"):
                contenders |= {f"{name}[{level}]": _at_level(level, fn) for level in levels}
            else:
                contenders[name] = fn
        times = measure(contenders, repeat=repeat)
        baseline = times[case.baseline or next(iter(contenders))]["median_s"]
        for name, figures in times.items():
            row = {"op": case.op, "sizes": case.sizes, "contender": name, **figures}
            row["speedup"] = baseline / figures["median_s"]
            if case.bytes:
                row["gb_per_s"] = case.bytes / figures["median_s"] / 1e9
            if case.operations:
                row["gop_per_s"] = case.operations / figures["median_s"] / 1e9
            if name in case.quality:
                row["quality"] = case.quality[name]
            rows.append(row)
    return rows


def _at_level(level: str, fn: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        tersor.force_isa(level)
        try:
            return fn()
        finally:
            tersor.force_isa("")

    return call


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print the rows as a table, one block per case."""
    table = Table(title=title, title_justify="left")
    optional = [c for c in ("gb_per_s", "gop_per_s", "quality") if any(c in row for row in rows)]
    for column in ("operation", "sizes", "contender"):
        table.add_column(column)
    for column in ("median us", "p95 us", "x baseline", *optional):
        table.add_column(column, justify="right")
    last = None
    for row in rows:
        case = (row["op"], json.dumps(row["sizes"]))
        if last is not None and case != last:
            table.add_section()
        sizes = " ".join(f"{k}={v}" for k, v in row["sizes"].items())
        table.add_row(
            *((row["op"], sizes) if case != last else ("", "")),
            row["contender"],
            f"{1e6 * row['median_s']:.2f}",
            f"{1e6 * row['p95_s']:.2f}",
            f"{row['speedup']:.2f}",
            *(f"{row[c]:.4g}" if c in row else "" for c in optional),
        )
        last = case
    # A pipe or a log has no width of its own, and 80 columns would break the names.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main(doc: str | None, cases: Callable[[], Iterable[Case]]) -> None:
    """Command line of a benchmark file."""
    title = (doc or "benchmark").strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument(
        "--isas", action="store_true", help="every instruction-set level of this CPU"
    )
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    tersor.set_threads(args.threads)
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(args.threads)
    isas = tersor.supported_isas() if args.isas else []
    rows = run(cases(), repeat=args.repeat, isas=isas)
    show(rows, f"{title} ({args.threads} thread{'s' if args.threads != 1 else ''})")
    if args.json:
        result = {"benchmark": title, "threads": args.threads, "machine": machine(), "rows": rows}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")
