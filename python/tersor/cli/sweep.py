"""``tersor sweep``: architectures and recipes, by short trainings."""

from __future__ import annotations

import argparse
from typing import Any

from .options import (
    add_data_options,
    add_html_option,
    add_preprocess_option,
    check_folder,
    load_preprocess,
    new_command,
    note,
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
        "sweep",
        "search architectures and recipes by short trainings",
        "Train networks of the zoo briefly, compress them, and keep what is accurate and small. "
        "Any number of processes may work on one study: run the same command again with the same "
        "--storage.",
    )
    parser.add_argument("data", help="training images, or digits")
    parser.add_argument("--data-split", metavar="SPLIT", help="which part of it (default train)")
    add_data_options(parser, "validation", "images to judge by (default a fifth of the others)")
    add_preprocess_option(parser)
    parser.add_argument("--space", metavar="FILE", help="YAML: lists of choices by name")
    parser.add_argument(
        "--choice",
        action="append",
        default=[],
        metavar="NAME=A,B",
        help="choices of one name, such as filters=16,32; goes before --space",
    )
    parser.add_argument("--trials", type=whole(1), default=20, help="of the study (default 20)")
    parser.add_argument("--epochs", type=whole(1), default=3, help="of a trial (default 3)")
    parser.add_argument("--batch-size", type=whole(1), default=128, help="(default 128)")
    parser.add_argument("--limit", type=whole(1), help="training images of a trial")
    parser.add_argument(
        "--size-weight",
        type=float,
        default=0.01,
        help="accuracy that half the size is worth (default 0.01)",
    )
    parser.add_argument(
        "--storage", help="journal file or database URL that processes share (default: memory)"
    )
    parser.add_argument("--study", default="sweep", help="name in the storage (default sweep)")
    parser.add_argument("--pruner", choices=("median", "halving", "none"), default="median")
    parser.add_argument("--augment", action="store_true", help="crop by an eighth, and flip")
    parser.add_argument("--seed", type=whole(0), default=0)
    add_html_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Work on the study, print, write.

    Parameters
    ----------
    options : argparse.Namespace
    """
    check_folder("sweep", "--html", options.html)
    choices = _choices(options)
    try:
        from ..training.sweep import sweep
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError("sweep needs PyTorch: pip install 'tersor[train,search]'") from None
    from ..data.augment import Augment

    data, preprocess = _data(options.data, options.data_split), load_preprocess(options)
    validation = None
    if options.validation is not None:
        validation = _data(options.validation, options.validation_split or "test")
    if options.data == "digits" and preprocess is None:
        from ..data.preprocess import Preprocess

        preprocess = Preprocess(scale=1 / 16, layout="NCHW")
    result = sweep(
        data,
        validation=validation,
        space=choices,
        trials=options.trials,
        epochs=options.epochs,
        size_weight=options.size_weight,
        storage=options.storage,
        study=options.study,
        pruner=options.pruner,
        batch_size=options.batch_size,
        limit=options.limit,
        augment=Augment(crop=4, flip=True) if options.augment else None,
        preprocess=preprocess,
        seed=options.seed,
        progress=note,
    )
    if options.html:
        result.to_html(options.html)
        note(f"wrote {options.html}")
    if options.json:
        print_json(result.to_dict())
    else:
        print_rich(result.table())


def _data(path: str, split: str | None) -> Any:
    if path == "digits":
        from ..zoo import load_digits_data

        return load_digits_data("calibration" if split in (None, "train") else split)
    from ..data.load import load

    return load(path, split, default_split="train")


def _choices(options: argparse.Namespace) -> dict[str, Any]:
    from ..base.yaml_file import parse_yaml, read_yaml

    document: Any = {}
    if options.space is not None:
        document = read_yaml(options.space, what="sweep space")
        if not isinstance(document, dict):
            raise ValueError(f"sweep: --space must hold names and lists, got {document!r}")
    for item in options.choice:
        name, separator, values = item.partition("=")
        if not separator or not values:
            raise ValueError(f"sweep: --choice must be such as filters=16,32, got {item!r}")
        document |= parse_yaml(f"{name}: [{values}]", what="sweep: --choice")
    return dict(document)


__all__ = ["add_parser", "run"]
