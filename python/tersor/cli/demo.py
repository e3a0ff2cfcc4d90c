"""``tersor demo``: the embedded network for cloud, edge and microcontroller, measured."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .options import new_command, note
from .output import print_json, print_rich

# What each device computes in; bf16 halves the file and keeps the accuracy.
RECIPES = {"cloud": "bf16", "edge": "int8", "mcu": "int8"}


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "demo",
        "compress the embedded network for three devices and measure it",
        "Compress a small network for handwritten digits, which comes with the package, for a "
        "server, a single-board computer and a microcontroller; measure accuracy, size, latency "
        "and memory; run the microcontroller's C on an emulated core where QEMU is installed; "
        "write the networks and a report. Needs no file and no network.",
    )
    parser.add_argument(
        "-o", "--output", default="tersor-demo", metavar="FOLDER", help="default: tersor-demo"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compress, measure, write, print.

    Parameters
    ----------
    options : argparse.Namespace
    """
    from ..compress import compress
    from ..compress.sensitivity import sensitivity
    from ..report.compare import compare
    from ..zoo import load_digits_data, load_digits_network

    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    graph = load_digits_network()
    test, calibration = load_digits_data("test"), load_digits_data("calibration")
    variants: dict[str, Any] = {"fp32": graph}
    for target, recipe in RECIPES.items():
        compressed = compress(graph, target, recipe=recipe, calibration=calibration.x)
        compressed.save(folder / f"{target}.tersor")
        variants[target] = compressed
    report = compare(
        variants,
        data=test,
        target={target: target for target in RECIPES},
        title="Handwritten digits at three scales",
        emulate=True,
        sensitivity=sensitivity(graph, calibration),
    )
    report.to_html(folder / "report.html")
    report.to_json(folder / "report.json")
    if options.json:
        print_json(report.to_dict())
    else:
        print_rich(report)
    seconds = time.perf_counter() - started
    note(f"wrote {folder}/report.html, report.json and three networks in {seconds:.1f} s")


__all__ = ["RECIPES", "add_parser", "run"]
