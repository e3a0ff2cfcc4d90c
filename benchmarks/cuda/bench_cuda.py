"""CUDA kernels beside a measured copy, torch, torch.compile and what else is installed.

``python -m benchmarks.cuda.bench_cuda [FAMILY ...] [-o FILE.json] [--quick]`` on a machine with a
device and torch. A row is the bytes that must move, over the time and over a copy's rate; products
are operations over the time and over the device's peak (``--peak``, TOP/s of dense int8 and fp8).
Peers that are not installed, or fail, are named with the reason.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import tersor
import tersor.cuda

from .cases import FAMILIES, Case
from .timing import graph_milliseconds, milliseconds

_COPIED = 64 << 20  # elements: 256 MiB of float32


def copy_rate(torch: Any) -> float:
    """GB/s that a copy on the device reads and writes."""
    source = torch.empty(_COPIED, device="cuda")
    target = torch.empty_like(source)
    return 8 * _COPIED / milliseconds(torch, lambda: target.copy_(source)) / 1e6


def rows_of(torch: Any, case: Case, copied: float, peak: float) -> Iterator[dict[str, Any]]:
    """Measure the contenders of a case."""
    for who, run in case.contenders.items():
        row: dict[str, Any] = {"case": case.name, "who": who}
        try:
            run()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            torch.cuda.synchronize()
            row["extra MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
            time = graph_milliseconds if case.graph else milliseconds
            row["ms"] = ms = time(torch, run)
        except Exception as error:  # a peer that does not run here is a row, too
            if who.startswith("tersor"):
                raise
            yield {**row, "failed": f"{type(error).__name__}: {error}".splitlines()[0]}
            continue
        if case.operations:
            row["TOP/s"] = case.operations / ms / 1e9
            row["share"] = row["TOP/s"] / peak
        else:
            row["GB/s"] = case.bytes_of(who) / ms / 1e6
            row["share"] = row["GB/s"] / copied
        yield row


def text_of(row: dict[str, Any]) -> str:
    """Format a row as a line."""
    head = f"{row['case']:26} {row['who']:22}"
    if "failed" in row:
        return f"{head} {row['failed']}"
    unit = "TOP/s" if "TOP/s" in row else "GB/s"
    return (
        f"{head} {row['ms']:9.4f} ms {row[unit]:8.1f} {unit:5} {row['share']:6.1%} "
        f"{row['extra MiB']:9.1f} MiB"
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    p = argparse.ArgumentParser(prog="bench_cuda", description=__doc__)
    p.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    p.add_argument("-o", "--output", metavar="FILE", help="write the rows as JSON")
    p.add_argument("--peak", type=float, default=1979.0, help="TOP/s; of an H200 by default")
    p.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    return p


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    p = parser()
    options = p.parse_args(arguments)
    unknown = [f for f in options.families if f not in FAMILIES]
    if unknown:
        p.error(f"no family {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    if not tersor.cuda.is_available():
        raise SystemExit("no CUDA device, or tersor was built without TERSOR_CUDA=ON")
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: this torch was built without CUDA")
    copied = copy_rate(torch)
    info = tersor.cuda.device_info()
    print(f"{info['name']}, copy: {copied:.0f} GB/s, torch {torch.__version__}")
    rows: list[dict[str, Any]] = []
    for family in options.families or FAMILIES:
        for case in FAMILIES[family](torch, options.quick):
            for row in rows_of(torch, case, copied, options.peak):
                rows.append(row)
                print(text_of(row), flush=True)
            del case  # its tensors
    if options.output:
        versions = {"tersor": tersor.__version__, "torch": torch.__version__}
        if "products" in (options.families or FAMILIES):
            from tersor.cuda import quantization

            versions["cublaslt"] = str(quantization.cublaslt()[1])
        with open(options.output, "w") as f:
            json.dump(
                {"device": info, "versions": versions, "copy GB/s": copied, "rows": rows}, f,
                indent=1, default=str,
            )  # fmt: skip


if __name__ == "__main__":
    main()
