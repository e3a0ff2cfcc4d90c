"""Training on this machine: precision, accumulation, batch size, processes; more are modelled.

Every row is a run of ``tersor.training.fit`` in a process of its own. Memory is the highest
resident size less what was there before the first step. The last table is a model, not a
measurement: computing stays as measured here for one process, and a ring all-reduce moves
``2 (p - 1) / p`` times the bytes of the gradient through each device's link, in ``2 (p - 1)``
messages, after the backward pass (PyTorch overlaps the two, so that more is possible).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (32, 64, 128, 256, 512, 1024)
# Name -> (bytes per second of one direction of a link, seconds per message): data-sheet figures.
LINKS = {
    "10 Gbit/s Ethernet": (1.25e9, 30e-6),
    "100 Gbit/s RDMA": (12.5e9, 3e-6),
    "NVLink 4 (450 GB/s)": (450e9, 2e-6),
}
DEVICES = (2, 4, 8, 16, 64)


def train(processes: int = 1, **settings: Any) -> dict[str, Any]:
    """Run the worker and return what it measured."""
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(processes), "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
    done = subprocess.run(
        [*command, "benchmarks.training.worker", json.dumps(settings)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return {"processes": processes, **settings, **result}


def model_scaling(step_s: float, parameters: int, batch: int) -> list[dict[str, Any]]:
    """Throughput of more devices by the ring model; rows say that they are modelled."""
    rows = []
    gradient = 4 * parameters
    for link, (bandwidth, latency) in LINKS.items():
        for devices in DEVICES:
            moved = 2 * (devices - 1) / devices * gradient
            reduce_s = moved / bandwidth + 2 * (devices - 1) * latency
            rows.append(
                {
                    "kind": "modelled",
                    "link": link,
                    "devices": devices,
                    "bytes_per_device": moved,
                    "all_reduce_s": reduce_s,
                    "images_per_second": devices * batch / (step_s + reduce_s),
                    "efficiency": step_s / (step_s + reduce_s),
                }
            )
    return rows


def measure(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """All tables."""
    base = {
        "network": options.network,
        "threads": options.threads,
        "precision": "fp32",
        "accumulate": 1,
        "batch_size": 128,
        "epochs": 1,
    }
    variants = [{"precision": p} for p in options.precisions]
    variants += [{"batch_size": 32, "accumulate": 4}]
    precision = [
        train(**{**base, **v, "samples": options.samples, "epochs": options.epochs, "accuracy": 1})
        for v in variants
    ]
    batches = [
        train(**{**base, "batch_size": batch, "samples": batch * max(4, options.images // batch)})
        for batch in options.batches
    ]
    one = {**base, "threads": 1, "samples": 128 * max(8, options.images // 128)}
    processes = [train(**one), train(2, **{**one, "samples": 2 * one["samples"]})]
    for row in processes:
        row["efficiency"] = row["images_per_second"] / (
            row["processes"] * processes[0]["images_per_second"]
        )
    single = processes[0]
    return {
        "precision": precision,
        "batch size": batches,
        "processes": processes,
        "more devices (modelled)": model_scaling(single["step_s"], single["parameters"], 128),
    }


COLUMNS = {
    "precision": ("precision", "batch_size", "accumulate", "accuracy", "peak_bytes"),
    "batch size": ("batch_size", "peak_bytes"),
    "processes": ("processes", "batch_size", "efficiency"),
    "more devices (modelled)": ("link", "devices", "bytes_per_device", "efficiency"),
}


def show(tables: dict[str, list[dict[str, Any]]]) -> None:
    """Print the tables."""
    for title, rows in tables.items():
        table = Table(title=title, title_justify="left")
        for column in (*COLUMNS[title], "images_per_second"):
            table.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(
                *(_text(name, row[name]) for name in (*COLUMNS[title], "images_per_second"))
            )
        Console(width=None if sys.stdout.isatty() else 120).print(table)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("peak_bytes", "bytes_per_device"):
        return f"{value / 2**20:.1f} MB"
    if name in ("accuracy", "efficiency"):
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="resnet8", help="name in tersor.zoo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--samples", type=int, default=5120, help="images of the accuracy runs")
    parser.add_argument("--epochs", type=int, default=5, help="of the accuracy runs")
    parser.add_argument("--images", type=int, default=2048, help="timed images of a speed run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tables = measure(options)
    show(tables)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"benchmark": "training", "machine": machine(), "tables": tables}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
