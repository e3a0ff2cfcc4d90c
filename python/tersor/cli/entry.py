"""Entry of the ``tersor`` command: arguments, exit codes, errors in one sentence."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__
from ..base.error import BudgetError, Error
from . import advise, bench, compare, compress, curve, demo, export, inspect, sweep

# What continuous integration tells apart.
EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USER_ERROR = 2
EXIT_BUDGET = 3
EXIT_INTERRUPTED = 130

_COMMANDS = (demo, compress, curve, compare, advise, inspect, export, bench, sweep)
# What a user can cause. Everything else is a defect of tersor and shows its traceback.
_USER_ERRORS = (Error, ValueError, TypeError, OSError, ImportError, MemoryError)


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are one sentence too."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER_ERROR, f"tersor: {message} (see '{self.prog} --help')\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Returns
    -------
    argparse.ArgumentParser
        Its results have `run`, the function of the command.
    """
    parser = _Parser(
        prog="tersor",
        description="Compress neural networks: import, quantize, run, measure.",
        epilog="exit codes: 0 done, 2 wrong input, 3 budget not met, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"tersor {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; by default that of the process.

    Returns
    -------
    int
        0 done, 2 wrong input (one sentence on standard error), 3 budget not met, 130 interrupted
        by Ctrl-C.
    """
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as stop:  # argparse: 0 after --help, 2 for wrong arguments
        return int(stop.code or 0)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.run(options)
        # A reader that closed the pipe early shows itself here, not at exit.
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("tersor: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except BudgetError as error:
        return _report(error, options, EXIT_BUDGET)
    except _USER_ERRORS as error:
        return _report(error, options, EXIT_USER_ERROR)
    return EXIT_OK


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"tersor: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _report(error: BaseException, options: argparse.Namespace, code: int) -> int:
    if options.traceback:
        raise error
    message = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.strerror}: {error.filename}"
    # One line, and the lists that a message indents below it.
    lines = re.split(r"\n(?= {2}\S)", message)
    message = "\n".join([" ".join(lines[0].split()), *(f"  {line.strip()}" for line in lines[1:])])
    if options.json:
        failure = {"type": type(error).__name__, "message": message, "exit_code": code}
        print(json.dumps({"error": failure}, indent=2))
    print(f"tersor: {message}", file=sys.stderr)
    return code


__all__ = ["build_parser", "main"]
