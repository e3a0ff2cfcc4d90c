"""``tersor compress``: a network in, a smaller and faster one out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    seconds,
    whole,
)
from .output import print_json, print_rich

if TYPE_CHECKING:
    from ..report.report import Report


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "compress",
        "compress a network to a .tersor file",
        "Compress a network and measure what changed. Nothing is written where the budget is not "
        "met.",
    )
    parser.add_argument("model", help="network: .onnx, .tflite, .keras, .h5, or digits")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=".tersor to write")
    parser.add_argument(
        "--recipe",
        help="default: searched under the budget, int8 without one; or int8, int8-dynamic, w4a8, "
        "w8a32, w4a32, w3a32, fp16, bf16, fp32, codebook4, codebook2, codebook4a8, "
        "deep-compression, "
        "rate-distortion (fills --budget size=...), keep, or a .yaml recipe",
    )
    add_limit_options(parser)
    add_data_options(parser, "calibration", "unlabeled samples; int8, w4a8, codebook4a8 need some")
    add_data_options(parser, "evaluate", "labeled samples for accuracy before and after")
    add_preprocess_option(parser)
    parser.add_argument("--seed", type=whole(0), default=0, help="draws calibration samples")
    parser.add_argument(
        "--time-budget",
        type=seconds,
        metavar="SECONDS",
        help="a search takes the best that it found by then",
    )
    parser.add_argument(
        "--cache", metavar="FOLDER", help="where a search keeps what it measured of layers"
    )
    parser.add_argument(
        "--c",
        metavar="FOLDER",
        help="write C for the target too, where the network is int8 (a folder that is not there)",
    )
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="write times and measurements into the file too; without them it is reproducible",
    )
    add_html_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compress, save, measure, print.

    Parameters
    ----------
    options : argparse.Namespace

    Raises
    ------
    BudgetError
        If the budget is not met; nothing is written then.
    """
    from ..compress import Recipe, compress

    output = Path(options.output)
    if output.suffix.lower() != ".tersor":
        raise ValueError(f"compress: --output must end in .tersor, got {options.output!r}")
    check_folder("compress", "--output", options.output)
    check_folder("compress", "--html", options.html)
    if options.c and Path(options.c).exists():
        raise ValueError(f"compress: --c must be a folder that does not exist, got {options.c!r}")
    # What can be wrong is read before anything long begins.
    target, budget = load_limits(options)
    recipe = None if options.recipe is None else Recipe.parse(options.recipe)
    preprocess = load_preprocess(options)
    graph = load_model(options.model, preprocess)
    if hasattr(graph, "recipe"):
        raise ValueError(f"compress: {options.model} is compressed already")
    evaluate = load_data(options.evaluate, options.evaluate_split, "test", graph)
    calibration = load_data(options.calibration, options.calibration_split, "train", graph)
    note_raw_bytes(graph, evaluate, calibration)
    compressed = compress(
        graph,
        target,
        budget,
        recipe,
        calibration=calibration,
        evaluate=evaluate,
        seed=options.seed,
        time_budget=options.time_budget,
        cache=options.cache,
        progress=sys.stderr.isatty() and not options.json,
    )
    if options.c:
        compressed.export(options.c, format="c", target=target)
        note(f"wrote {options.c}")
    compressed.save(output, provenance=options.provenance)
    try:
        report = _report(options, graph, compressed, target, budget)
        if options.html:
            report.to_html(options.html)
    except KeyboardInterrupt:
        note(f"wrote {output}; measuring was interrupted")
        raise
    except OSError:
        note(f"wrote {output}; the report was not written")
        raise
    if options.json:
        result = {
            "output": str(output),
            "content_hash": compressed.content_hash,
            "notes": compressed.notes,
            "provenance": compressed.provenance,
            "report": report.to_dict(),
        }
        print_json(result)
        return
    print_rich(report)
    for layer, reason in compressed.notes.get("float_layers", {}).items():
        note(f"left in float: {layer}: {reason}")
    note(f"wrote {output}" + (f" and {options.html}" if options.html else ""))


def _report(
    options: argparse.Namespace, graph: Any, compressed: Any, target: Any, budget: Any
) -> Report:
    """Compare before and after; accuracies were measured while compressing."""
    from ..report.compare import compare

    figures = compressed.provenance.get("figures", {})
    before, after = figures.get("accuracy_before"), figures.get("accuracy")
    # The budget was checked while compressing, with the accuracy; here it is shown.
    lines = {name: value for name, value in budget.to_dict().items() if name != "accuracy_drop"}
    report = compare(
        {"original": graph, compressed.recipe.name: compressed},
        target=target,
        budget=lines,
        title=f"{Path(options.model).name} to {Path(options.output).name}",
    )
    if after is None:
        return report
    original, variant = report.variants
    variants = (replace(original, accuracy=before), replace(variant, accuracy=after))
    return replace(report, variants=variants)


__all__ = ["add_parser", "run"]
