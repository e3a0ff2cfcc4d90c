"""Whole networks: tersor beside ONNX Runtime, OpenVINO, PyTorch and LiteRT.

Every contender lives in its own process. After ten calls of warm-up they take turns, a few calls at
a time, so that a busy neighbour or a change of clock meets all of them; the table shows medians.

    python -m benchmarks.runtime.bench_networks --json networks.json --markdown networks.md
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import harness

PEERS = {
    "tersor": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "int8"),
    "torch": ("eager", "compile"),
    "litert": ("fp32", "int8"),
}
BATCHES = {"resnet20": (1, 64), "resnet8": (1, 64), "mobilenet_v2": (1,)}


class Contender:
    """A worker process (worker.py)."""

    def __init__(self, peer: str, precision: str, folder: Path, batch: int, threads: int) -> None:
        self.name = f"{peer} {precision}"
        self.peer, self.precision = peer, precision
        self.times: list[int] = []
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TERSOR_THREADS": str(threads),
        }
        command = [sys.executable, "-m", "benchmarks.runtime.worker", peer, precision, str(folder)]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, read after the process ended
        self.process = subprocess.Popen(
            [*command, f"--batch={batch}", f"--threads={threads}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self.errors.seek(0)
        return {"skip": (self.errors.read().strip().splitlines() or ["it died"])[-1]}

    def ask(self, text: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def measure(
    network: str, folder: Path, batch: int, threads: int, rounds: int, seconds: float, only: str
) -> list[dict[str, Any]]:
    """One row per contender."""
    contenders = []
    skipped = []
    for peer, precisions in PEERS.items():
        for precision in precisions:
            if only and peer not in only.split(","):
                continue
            contender = Contender(peer, precision, folder, batch, threads)
            state = contender.read()  # one at a time: compilers use every core
            if "skip" in state:
                skipped.append((contender.name, state["skip"]))
                contender.close()
            else:
                contenders.append(contender)
    calls = {}
    for c in contenders:
        once = min(c.ask("5")["times_ns"]) / 1e9
        calls[c.name] = max(3, int(seconds / rounds / once))
    for _ in range(rounds):
        for c in contenders:
            c.times += c.ask(str(calls[c.name]))["times_ns"]
    rows = []
    for c in contenders:
        times = sorted(t / 1e6 for t in c.times)
        row = {
            "network": network,
            "batch": batch,
            "threads": threads,
            "contender": c.name,
            "peer": c.peer,
            "precision": c.precision,
            "median_ms": statistics.median(times),
            "min_ms": times[0],
            "p95_ms": times[int(0.95 * (len(times) - 1))],
            "calls": len(times),
            **c.ask("end"),
        }
        row["samples_per_s"] = 1000 * batch / row["median_ms"]
        c.close()
        rows.append(row)
    for name, why in skipped:
        print(f"{network} batch {batch}: {name} left out, {why}", file=sys.stderr)
    return rows


def _fastest(rows: list[dict[str, Any]], precisions: tuple[str, ...]) -> float:
    return min((r["median_ms"] for r in rows if r["precision"] in precisions), default=float("nan"))


def _cells(row: dict[str, Any], best: float) -> list[str]:
    quality = f"{row['top1']:.2f} %" if "top1" in row else f"{row['snr_db']:.1f} dB"
    return [
        row["contender"],
        f"{row['median_ms']:.3f}",
        f"{row['p95_ms']:.3f}",
        f"{row['samples_per_s']:,.0f}",
        f"{best / row['median_ms']:.2f}",
        f"{row['peak_bytes'] / 2**20:.1f}",
        f"{row['file_bytes'] / 1024:,.0f}",
        quality,
    ]


COLUMNS = [
    "contender",
    "median ms",
    "p95 ms",
    "samples/s",
    "x fastest fp32",
    "peak MiB",
    "file KiB",
    "quality",
]


def _groups(rows: list[dict[str, Any]]) -> dict[tuple[str, int, int], list[dict[str, Any]]]:
    groups: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["batch"], row["threads"]), []).append(row)
    return groups


def _title(network: str, batch: int, threads: int) -> str:
    return f"{network}, batch {batch}, {threads} thread{'s' if threads > 1 else ''}"


def show(rows: list[dict[str, Any]]) -> None:
    """Print one table per network, batch and thread count."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for key, group in _groups(rows).items():
        table = Table(title=_title(*key), title_justify="left")
        for i, column in enumerate(COLUMNS):
            table.add_column(column, justify="right" if i else "left")
        best = _fastest(group, ("fp32", "eager", "compile"))
        for row in sorted(group, key=lambda r: r["median_ms"]):
            table.add_row(*_cells(row, best), style="bold" if row["peer"] == "tersor" else "")
        console.print(table)


def markdown(rows: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """The section for docs/benchmarks.md."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    lines = [
        "## Whole networks",
        "",
        f"{machine['cpu']}; {versions}. Medians of interleaved rounds, one process per contender.",
        "Peak memory is what loading and running add to the process. ONNX Runtime and OpenVINO run",
        "quantize_static's int8 (QDQ, per channel, 128 images). Quality: top-1 of 2,000 CIFAR-10",
        "test images, or the signal-to-noise ratio to the float network.",
        "",
    ]
    for key, group in _groups(rows).items():
        best = _fastest(group, ("fp32", "eager", "compile"))
        lines += [
            f"### {_title(*key)}",
            "",
            "| " + " | ".join(COLUMNS) + " |",
            "|---" + "|--:" * 7 + "|",
        ]
        for row in sorted(group, key=lambda r: r["median_ms"]):
            cells = _cells(row, best)
            if row["peer"] == "tersor":
                cells[0] = f"**{cells[0]}**"
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default="resnet20,resnet8,mobilenet_v2")
    parser.add_argument("--batches", default="", help="default: 1 and 64, MobileNetV2 1")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--peers", default="", help="only these, comma-separated")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=3.0, help="of counted calls per contender")
    parser.add_argument(
        "--folder", type=Path, default=Path.home() / ".cache" / "tersor" / "benchmarks"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    machine = harness.machine()
    for network in args.networks.split(","):
        # In a process of its own: exporting and quantizing leave a lot of memory behind.
        command = [sys.executable, "-m", "benchmarks.runtime.networks", network, str(args.folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        batches = [int(b) for b in args.batches.split(",")] if args.batches else BATCHES[network]
        for batch in batches:
            for threads in map(int, args.threads.split(",")):
                group = measure(
                    network,
                    args.folder / network,
                    batch,
                    threads,
                    args.rounds,
                    args.seconds,
                    args.peers,
                )
                show(group)
                rows += group
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(markdown(rows, machine))


if __name__ == "__main__":
    main()
