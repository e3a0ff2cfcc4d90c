"""``tersor curve``: size against accuracy of a network, without training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .options import (
    add_data_options,
    add_preprocess_option,
    check_folder,
    load_data,
    load_model,
    load_preprocess,
    new_command,
    note,
    note_raw_bytes,
    whole,
)
from .output import print_json, print_rich


def add_parser(commands: Any) -> None:
    """Add the command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = new_command(
        commands,
        "curve",
        "compress a network to several sizes and show their accuracy",
        "Round a network at several prices of a bit (rate-distortion, no training) and show size "
        "against accuracy.",
    )
    parser.add_argument("model", help="network: .onnx, .keras, .h5, or digits")
    parser.add_argument(
        "--bits",
        type=_bits,
        nargs="+",
        default=None,
        metavar="B",
        help="bits that a weight takes on average, one for each point (default 1.5 2 2.5 3 4)",
    )
    parser.add_argument(
        "--recipe", default="rate-distortion", help="a .yaml recipe with rate-distortion layers"
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="write the networks there, one file a point"
    )
    add_data_options(parser, "calibration", "unlabeled samples (about 512)")
    add_data_options(parser, "evaluate", "labeled samples for accuracy")
    add_preprocess_option(parser)
    parser.add_argument("--seed", type=whole(0), default=0, help="draws calibration samples")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compress, print, save.

    Parameters
    ----------
    options : argparse.Namespace
    """
    from ..compress import Recipe, rate_curve
    from ..compress.rate_curve import BITS

    check_folder("curve", "--output", options.output)
    recipe = Recipe.parse(options.recipe)
    preprocess = load_preprocess(options)
    graph = load_model(options.model, preprocess)
    if hasattr(graph, "recipe"):
        raise ValueError(f"curve: {options.model} is compressed already")
    evaluate = load_data(options.evaluate, options.evaluate_split, "test", graph)
    calibration = load_data(options.calibration, options.calibration_split, "train", graph)
    if calibration is None:
        raise ValueError("curve: --calibration must be given, got none")
    note_raw_bytes(graph, evaluate, calibration)
    curve = rate_curve(
        graph,
        calibration,
        bits_per_weight=options.bits or BITS,
        recipe=recipe,
        evaluate=evaluate,
        seed=options.seed,
        progress=sys.stderr.isatty() and not options.json,
    )
    files = []
    if options.output:
        folder = Path(options.output)
        folder.mkdir(exist_ok=True)
        for point, model in zip(curve.points, curve.models, strict=True):
            files.append(str(folder / f"{point.bits_per_weight:g}-bits.tersor"))
            model.save(files[-1])
    if options.json:
        print_json({**curve.to_dict(), "files": files})
        return
    print_rich(curve.table())
    if files:
        note(f"wrote {len(files)} networks to {options.output}")


def _bits(text: str) -> float:
    value = float(text)
    if not 0 < value <= 8:
        raise argparse.ArgumentTypeError(f"must be in (0, 8], got {text}")
    return value


__all__ = ["add_parser", "run"]
