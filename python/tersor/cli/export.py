"""``tersor export``: a network into the format of another runtime."""

from __future__ import annotations

import argparse
from typing import Any

from ..exporters import FORMATS, export
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
        "export",
        "write a network for another runtime",
        "Export a network, compressed or not. Weights that the format cannot hold as they are get "
        "decoded; the output says which, and the size.",
    )
    parser.add_argument("model", help="network: .tersor, .onnx, .tflite, .keras, .h5, or digits")
    parser.add_argument("-o", "--output", required=True, metavar="PATH", help="file or folder")
    parser.add_argument("--format", help=f"{', '.join(FORMATS)}; default: by the suffix")
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), help="how float weights are stored"
    )
    parser.add_argument(
        "--bytes-in", action="store_true", help="take uint8 images: preprocessing as first layer"
    )
    parser.add_argument("--target", help="C: device profile or YAML file that it must fit into")
    parser.add_argument("--name", help="C: name of the files, and prefix of all names in them")
    parser.add_argument(
        "--streaming", action="store_true", default=None,
        help="C: row by row where activations are largest: less RAM",
    )  # fmt: skip
    parser.add_argument(
        "--rows-in", action="store_true", default=None,
        help="C: streaming, and the input is brought row by row",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Load, write, print.

    Parameters
    ----------
    options : argparse.Namespace
    """
    names = ("dtype", "target", "name", "streaming", "rows_in")
    wanted = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    written = export(
        load_model(options.model),
        options.output,
        options.format,
        bytes_in=options.bytes_in,
        **wanted,
    )
    if options.json:
        print_json(
            {
                "output": str(written.path),
                "format": written.format,
                "nbytes": written.nbytes,
                "decoded": dict(written.decoded),
            }
        )
        return
    print_rich(str(written))


__all__ = ["add_parser", "run"]
