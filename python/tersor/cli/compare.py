"""``tersor compare``: several networks side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import (
    add_data_options,
    add_html_option,
    add_limit_options,
    add_preprocess_option,
    check_folder,
    load_data,
    load_limits,
    load_model,
    load_preprocess,
    new_command,
    note,
    note_raw_bytes,
    whole,
)
from .output import print_rich


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "compare",
        "measure several networks side by side",
        "Measure networks side by side: accuracy, agreement, size, latency, memory, and what they "
        "cost on a target. The first network is the baseline.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]MODEL",
        help=".onnx, .tflite, .tersor, .keras, .h5, or digits",
    )
    add_data_options(parser, "data", "data for accuracy and agreement")
    add_preprocess_option(parser)
    add_limit_options(parser)
    parser.add_argument("--threads", type=whole(1), default=1, help="threads (default 1)")
    parser.add_argument("--runs", type=whole(1), default=100, help="counted runs (default 100)")
    parser.add_argument("--title", default="Comparison", help="of the report")
    add_html_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print, write.

    Parameters
    ----------
    options : argparse.Namespace

    Raises
    ------
    BudgetError
        If a network but the first does not meet the budget, after everything is printed.
    """
    from ..report.compare import compare

    check_folder("compare", "--html", options.html)
    target, budget = load_limits(options)
    if budget and target is None:
        raise ValueError("compare: --budget needs a --target")
    preprocess = load_preprocess(options)
    models: dict[str, Any] = {}
    for argument in options.models:
        name, path = _split(argument)
        if name in models:
            raise ValueError(f"compare: the name {name!r} is given twice (write NAME=MODEL)")
        models[name] = load_model(path, preprocess)
    first = next(iter(models.values()))
    data = load_data(options.data, options.data_split, "test", first)
    note_raw_bytes(first, data)
    report = compare(
        models,
        data=data,
        target=target,
        budget=budget,
        preprocess=preprocess,
        threads=options.threads,
        runs=options.runs,
        title=options.title,
    )
    if options.html:
        report.to_html(options.html)
        note(f"wrote {options.html}")
    if options.json:
        print(report.to_json(), end="")
    else:
        print_rich(report)
    report.check()


def _split(argument: str) -> tuple[str, str]:
    """Read ``NAME=PATH``; a path alone is named by its stem."""
    name, separator, path = argument.partition("=")
    return (name, path) if separator and name and path else (Path(argument).stem, argument)


__all__ = ["add_parser", "run"]
