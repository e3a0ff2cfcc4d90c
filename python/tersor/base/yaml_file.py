"""YAML in and out: targets, budgets, recipes and preprocessing are plain YAML mappings.

Reading is strict where YAML is lax: no Python objects, no duplicate keys, a bounded file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

# A profile is 2 KB and a recipe of a 1,000-layer network about 200 KB.
_MAX_BYTES = 4 << 20


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (a few lines can expand without bound) and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                problem="aliases are not allowed",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    problem=f"keys must be text, got {key!r}", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, *, what: str) -> dict[str, Any]:
    """Read one YAML mapping.

    Parameters
    ----------
    text : str
        The document.
    what : str
        What it is, for messages, such as ``"target file edge.yaml"``.

    Returns
    -------
    dict
        Keys are text; values are what YAML's safe schema gives.

    Raises
    ------
    ValueError
        If the text is no valid YAML, no mapping, or uses aliases, tags or duplicate keys.

    Examples
    --------
    >>> parse_yaml("size: 128 KB", what="budget")
    {'size': '128 KB'}
    """
    if len(text) > _MAX_BYTES:
        raise ValueError(
            f"{what}: a YAML document must have at most {_MAX_BYTES} characters, got {len(text)}"
        )
    try:
        document = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ValueError(f"{what} is not valid YAML{line}: {problem}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{what} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(
            f"{what} must be a YAML mapping (key: value), got {type(document).__name__}"
        )
    return document


def read_yaml(path: str | Path, *, what: str) -> dict[str, Any]:
    """Read a file that holds one YAML mapping.

    Parameters
    ----------
    path : str or Path
        A file of at most 4 MiB of UTF-8 text.
    what : str
        What it is, for messages, such as ``"target file"``.

    Returns
    -------
    dict
        As from :func:`parse_yaml`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is too large, not UTF-8, or not one YAML mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{what} not found: {path}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(
            f"{what} {path} must have at most {_MAX_BYTES} bytes, got {path.stat().st_size}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{what} {path} must be UTF-8 text") from None
    return parse_yaml(text, what=f"{what} {path}")


def format_yaml(document: Mapping[str, Any]) -> str:
    r"""Write a mapping as YAML, keys in their order.

    Parameters
    ----------
    document : mapping
        Plain data: text, numbers, booleans, None, lists and mappings.

    Returns
    -------
    str
        A YAML document that :func:`parse_yaml` reads back to the same data.

    Examples
    --------
    >>> format_yaml({"size": "128 KB", "mean": [0.5, 0.5]})
    'size: 128 KB\nmean: [0.5, 0.5]\n'
    """
    if not document:
        return "{}\n"
    # A line per key; lists and mappings inside stay on their line where they are flat.
    return "".join(
        yaml.safe_dump(
            {key: value},
            sort_keys=False,
            default_flow_style=None if isinstance(value, (dict, list)) else False,
            width=100,
        )
        for key, value in document.items()
    )


__all__ = ["format_yaml", "parse_yaml", "read_yaml"]
