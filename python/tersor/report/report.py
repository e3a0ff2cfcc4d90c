"""Figures of variants beside their baseline: table, JSON, HTML, plots."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.error import BudgetError
from ..base.schema import check_path
from .html import render_html
from .tables import tables_of
from .variant import Variant

if TYPE_CHECKING:
    from rich.console import Group

    from .plots import Plots

FORMAT = "tersor-report-1"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Report:
    """Variants of a network side by side; made by :func:`tersor.compare`.

    Attributes
    ----------
    variants : tuple of Variant
    baseline : str
        Name of the variant that the others are compared with.
    title : str
    data : dict or None
        ``name``, ``samples`` and ``labeled`` of the data that quality was measured on.
    threads : int
        Of each session.
    environment : dict
        Processor, instruction set, versions.
    created : str
        ISO 8601, UTC.
    sensitivity : Sensitivity or None
        From ``tersor.sensitivity``, for its heat map.

    Examples
    --------
    >>> import tersor
    >>> from tersor.zoo import load_digits_network
    >>> report = tersor.compare({"fp32": load_digits_network()}, runs=1)
    >>> report["fp32"].macs
    673088
    """

    variants: tuple[Variant, ...]
    baseline: str
    title: str = "Comparison"
    data: dict[str, Any] | None = None
    threads: int = 1
    environment: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=_now)
    sensitivity: Any = None

    def __getitem__(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise KeyError(f"report: variant must be one of {known}, got {name!r}")

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.variants)

    def __len__(self) -> int:
        return len(self.variants)

    def check(self) -> None:
        """Raise BudgetError where a variant misses a line of its budget.

        Raises
        ------
        BudgetError
            The message names the variants and says by how much.
        """
        found = [
            (variant.name, miss)
            for variant in self.variants
            if variant.on_target is not None
            for miss in variant.on_target.misses
        ]
        if found:
            listed = "; ".join(f"{name}: {miss}" for name, miss in found)
            raise BudgetError(f"budget not met: {listed}", tuple(miss for _, miss in found))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in ``report.schema.json``.

        Returns
        -------
        dict
        """
        return {
            "format": FORMAT,
            "title": self.title,
            "created": self.created,
            "baseline": self.baseline,
            "threads": self.threads,
            "data": self.data,
            "environment": dict(self.environment),
            "variants": [variant.to_dict() for variant in self.variants],
            "sensitivity": None
            if self.sensitivity is None
            else _finite(self.sensitivity.to_dict()),
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as JSON, and write it where a path is given.

        Parameters
        ----------
        path : str or path-like, optional

        Returns
        -------
        str
            A document that follows :func:`json_schema`.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        if path is not None:
            _write(path, text)
        return text

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as one HTML page that needs no network; write it where a path is given.

        Parameters
        ----------
        path : str or path-like, optional

        Returns
        -------
        str
            The page, with its plots drawn in it.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        page = render_html(self)
        if path is not None:
            _write(path, page)
        return page

    @property
    def plot(self) -> Plots:
        """Matplotlib figures: ``report.plot.pareto()``; needs ``pip install 'tersor[report]'``."""
        from .plots import Plots

        return Plots(self)

    def __rich__(self) -> Group:
        from rich.console import Group

        tables = [table.to_rich() for table in tables_of(self)]
        if self.sensitivity is not None:
            tables.insert(0, self.sensitivity.table())
        return Group(*tables)

    def __str__(self) -> str:
        from rich.console import Console

        stream = StringIO()
        Console(file=stream, width=160).print(self)
        return stream.getvalue()

    def __repr__(self) -> str:
        names = ", ".join(variant.name for variant in self.variants)
        return f"Report({self.title!r}: {names}; baseline {self.baseline!r})"

    def _repr_html_(self) -> str:
        return render_html(self, fragment=True)


def _finite(value: Any) -> Any:
    """JSON has no infinities: where outputs are equal, their ratio is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: str | os.PathLike[str], text: str) -> None:
    file = Path(check_path(path, what="report: path"))
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"report: path must be in a folder that exists, got {os.fspath(path)!r}"
        )
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise type(error)(f"report: {path} cannot be written: {error.strerror}") from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that :meth:`Report.to_json` follows.

    Returns
    -------
    dict
    """
    text = (resources.files(__package__) / "report.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


__all__ = ["Report", "json_schema"]
