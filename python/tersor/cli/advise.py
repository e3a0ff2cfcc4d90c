"""``tersor advise``: what would pay for a network on a device, and what would not."""

from __future__ import annotations

import argparse
from typing import Any

from .options import load_model, new_command
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
        "advise",
        "say what would pay for a network, and what would not",
        "Say what would pay for a network and what would not and why: sparsity (from how many "
        "zeros on each layer is faster), int8, fewer channels, kernels. Needs no data.",
    )
    parser.add_argument("model", help="network: .onnx, .tflite, .tersor, .keras, .h5, or digits")
    parser.add_argument(
        "--target", help="cloud, edge, mcu, or a YAML profile (default: this machine)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Advise and print.

    Parameters
    ----------
    options : argparse.Namespace
    """
    from ..compress.advise import advise

    advice = advise(load_model(options.model), options.target)
    if options.json:
        print_json(advice.to_dict())
        return
    print_rich(advice.summary(), advice.table())


__all__ = ["add_parser", "run"]
