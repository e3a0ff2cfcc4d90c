"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..data.preprocess import Preprocess
    from ..targets.budget import Budget
    from ..targets.target import Target


def new_command(
    commands: Any, name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    """Add a command with the options that every command has.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    name, summary, description : str

    Returns
    -------
    argparse.ArgumentParser
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def add_data_options(parser: argparse.ArgumentParser, name: str, purpose: str) -> None:
    """Add ``--NAME PATH`` and ``--NAME-split SPLIT``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    name : str
        Such as ``"calibration"``.
    purpose : str
        For the help text.
    """
    parser.add_argument(
        f"--{name}",
        metavar="DATA",
        help=f"{purpose}: .npz, .npy, folder per class of images, tar or zip of one, CIFAR-10",
    )
    parser.add_argument(
        f"--{name}-split", metavar="SPLIT", help="which part of it, such as train or test"
    )


def add_preprocess_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--preprocess FILE``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "--preprocess",
        metavar="FILE",
        help="YAML: scale, mean, std, layout, resize; from stored images to the network's input",
    )


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--target NAME`` and ``--budget LINES``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--target", help="cloud, edge, mcu, or a .yaml profile")
    parser.add_argument("--budget", metavar="LINES", help="such as size=128KB,accuracy_drop=1%%")


def load_limits(options: argparse.Namespace) -> tuple[Target | None, Budget]:
    """Read ``--target`` and ``--budget``.

    Parameters
    ----------
    options : argparse.Namespace

    Returns
    -------
    (Target or None, Budget)

    Raises
    ------
    ValueError
        If a name or a line is not known.
    """
    from ..targets.budget import Budget
    from ..targets.target import Target

    budget = Budget.parse(options.budget)
    return None if options.target is None else Target.load(options.target), budget


def add_html_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--html FILE``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--html", metavar="FILE", help="write the report as an HTML page")


def whole(least: int) -> Any:
    """Return a type for argparse: a whole number of at least `least`.

    Parameters
    ----------
    least : int

    Returns
    -------
    callable
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {least}, got {text!r}"
            )
        return value

    return number


def seconds(text: str) -> float:
    """Read a positive number of seconds; a type for argparse.

    Parameters
    ----------
    text : str

    Returns
    -------
    float
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds > 0, got {text!r}")
    return value


def load_model(path: str, preprocess: Preprocess | None = None) -> Any:
    """Load a network and give it the preprocessing that the user named.

    Parameters
    ----------
    path : str
        A file that :func:`tersor.load` reads, or ``"digits"``: the network of the package.
    preprocess : Preprocess, optional
        Takes the place of what the file carries.

    Returns
    -------
    Graph or CompressedModel
    """
    if path == "digits":
        from ..zoo import load_digits_network

        model: Any = load_digits_network()
    else:
        from .. import load

        model = load(path)
    if preprocess is not None:
        graph = getattr(model, "graph", model)
        graph.preprocess = preprocess.to_dict()
    return model


def load_preprocess(options: argparse.Namespace) -> Preprocess | None:
    """Return what ``--preprocess`` names, None without it.

    Parameters
    ----------
    options : argparse.Namespace

    Returns
    -------
    Preprocess or None
    """
    from ..data.preprocess import Preprocess

    return Preprocess.parse(None if options.preprocess is None else Path(options.preprocess))


def load_data(
    path: str | None, split: str | None, default_split: str, model: Any
) -> Dataset | None:
    """Open what ``--calibration`` or ``--evaluate`` names.

    Parameters
    ----------
    path, split : str or None
        From the command line; ``"digits"`` is the data of the package.
    default_split : str
        What counts where the set has parts and none was asked for.
    model : Graph or CompressedModel
        Its preprocessing says to which size images are resized.

    Returns
    -------
    Dataset or None
        None where `path` is None.
    """
    from ..data.load import load
    from ..report.model import model_preprocess

    if path is None:
        return None
    if path == "digits":
        from ..zoo import load_digits_data

        return load_digits_data("calibration" if default_split == "train" else "test")
    preprocess = model_preprocess(model)
    resize = None if preprocess is None else preprocess.resize
    return load(path, split, default_split=default_split, resize=resize)


def note_raw_bytes(model: Any, *datasets: Dataset | None) -> None:
    """Say so where raw bytes reach a network as they are: some want that, most do not.

    Parameters
    ----------
    model : Graph or CompressedModel
    *datasets : Dataset or None
    """
    from ..report.model import model_preprocess

    raw = any(dataset is not None and dataset.dtype.kind == "u" for dataset in datasets)
    if raw and model_preprocess(model) is None:
        note("no --preprocess: the network gets raw bytes, 0 to 255, as they are")


def note(text: str) -> None:
    """Say something on standard error, so that standard output stays clean.

    Parameters
    ----------
    text : str
    """
    print(f"tersor: {text}", file=sys.stderr)


def check_folder(command: str, option: str, path: str | None) -> None:
    """Refuse a file that could not be written, before anything long begins.

    Parameters
    ----------
    command, option : str
        For the message.
    path : str, optional

    Raises
    ------
    ValueError
        If `path` is a folder.
    FileNotFoundError
        If its folder does not exist.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise ValueError(f"{command}: {option} must be a file, got the folder {path!r}")
    if not Path(path).parent.is_dir():
        folder = Path(path).parent
        raise FileNotFoundError(f"{command}: the folder of {option} does not exist: {folder}")


__all__ = [
    "add_data_options",
    "add_html_option",
    "add_limit_options",
    "add_preprocess_option",
    "check_folder",
    "load_data",
    "load_limits",
    "load_model",
    "load_preprocess",
    "new_command",
    "note",
    "note_raw_bytes",
    "seconds",
    "whole",
]
