"""Which form of each layer is the fastest on this machine, measured and kept in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..base.config import processor_name
from ..base.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table

FORMS = ("dense", "sparse", "onednn")
_KEYS = ("machine", "threads", "batch", "choices", "times_us")


@dataclass(frozen=True)
class Tuning:
    """The fastest form of every layer, measured by `Session.tune`.

    Attributes
    ----------
    machine : str
        Processor and instruction set that it was measured on.
    threads, batch : int
        Of the session and its inputs.
    choices : dict of str to str
        By node where the session would have taken another form: "dense", "sparse" (from the
        weights that are not 0) or "onednn".
    times_us : dict of str to dict of str to float
        By node and form, median microseconds of the batch.
    """

    machine: str
    threads: int
    batch: int
    choices: dict[str, str]
    times_us: dict[str, dict[str, float]]

    def save(self, path: str | Path) -> None:
        """Write it as JSON, for ``Session(model, tuning=path)``.

        Parameters
        ----------
        path : str or Path
        """
        path = Path(path)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        part.replace(path)

    @classmethod
    def load(cls, value: Tuning | Mapping[str, Any] | str | Path) -> Tuning:
        """Read what `save` wrote, and check that it is of this machine.

        Parameters
        ----------
        value : Tuning, mapping, str or Path

        Returns
        -------
        Tuning

        Raises
        ------
        ValueError
            If it is no tuning, or one of another machine.
        FileNotFoundError
            If there is no such file.
        """
        if isinstance(value, Tuning):
            found = value
        else:
            if not isinstance(value, Mapping):
                try:
                    value = json.loads(Path(value).read_text())
                except (UnicodeDecodeError, json.JSONDecodeError) as error:
                    raise ValueError(f"session: tuning must be JSON, got {error}") from None
            if not isinstance(value, Mapping) or set(value) != set(_KEYS):
                raise ValueError(f"session: tuning must have {', '.join(_KEYS)}, got other keys")
            found = cls(**{key: value[key] for key in _KEYS})
        if found.machine != machine():
            raise ValueError(
                f"session: tuning must be of this machine ({machine()}), got one of "
                f"{found.machine}: call session.tune() here"
            )
        return found

    def table(self) -> Table:
        """Return the times as a table, the fastest form of each layer last.

        Returns
        -------
        rich.table.Table
        """
        from ..base.printed_table import PrintedTable

        table = PrintedTable(title=f"batch {self.batch}, {self.threads} thread(s), us")
        table.add_column("node", overflow="fold")
        for form in FORMS:
            table.add_column(form, justify="right")
        table.add_column("fastest")
        for node, times in self.times_us.items():
            cells = [f"{times[form]:,.1f}" if form in times else "" for form in FORMS]
            table.add_row(plain_text(node), *cells, min(times, key=times.__getitem__))
        return table


def machine() -> str:
    """Return the processor and the instruction set in use.

    Returns
    -------
    str
    """
    return f"{processor_name()}, {_core.base.active_isa()}"


__all__ = ["FORMS", "Tuning", "machine"]
