"""Write the type stubs of the extension, ``python/tersor/_core/*.pyi``: ``make stubs``.

pybind11-stubgen reads the signatures, this file fills in what they leave open, ruff formats.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tersor import _core

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "python" / "tersor" / "_core"

# Containers whose elements a signature does not name.
_OPEN = {
    "tuple": "tuple[typing.Any, ...]",
    "dict": "dict[str, typing.Any]",
    "list": "list[typing.Any]",
    "collections.abc.Sequence": "collections.abc.Sequence[typing.Any]",
    "collections.abc.Callable": "collections.abc.Callable[..., typing.Any]",
}


def versions() -> str:
    """Return what the text of the stubs depends on besides the bindings."""
    stubgen = importlib.metadata.version("pybind11-stubgen")
    return f"pybind11 {_core.base.pybind11_version()}, pybind11-stubgen {stubgen}"


def complete(text: str) -> str:
    """Fill in open containers and drop the values of constants."""
    text = re.sub(r"^([A-Z_]+: \w+) = .*$", r"\1", text, flags=re.MULTILINE)
    # A class with __eq__ alone has none; the base class promises one.
    text = text.replace("ClassVar[None] = None", "ClassVar[None]  # type: ignore[assignment]")
    for name, full in _OPEN.items():
        text = re.sub(rf"(?<=: |> ){re.escape(name)}(?=[,):= ]|$)", full, text, flags=re.MULTILINE)
    future = "from __future__ import annotations\n"
    return text.replace(future, f"{future}import typing\n")  # ruff removes it where it is not used


def stubs() -> dict[str, str]:
    """Generate the stubs of the installed extension.

    Returns
    -------
    dict of str to str
        Text by file name.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tersor" / "_core"
        options = ["--numpy-array-use-type-var", "--output-dir", temporary]
        _run("pybind11_stubgen", "tersor._core", *options)
        for path in folder.glob("*.pyi"):
            text = path.read_text()
            if "-> ...:" in text or re.search(r"[a-z]: \.\.\.[,)]", text):
                raise SystemExit(f"write_stubs: {path.name} has a type that is bound after its use")
            path.write_text(complete(text))
        style = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--quiet", str(folder)]
        style += ["--config", 'lint.isort.known-first-party=["tersor"]']  # not seen from there
        _run("ruff", "check", "--fix", "--unsafe-fixes", "--select", "I,F,UP,D2", *style)
        _run("ruff", "format", *style)
        header = f"# Written by tests/bindings/write_stubs.py ({versions()}).\n"
        return {path.name: header + path.read_text() for path in sorted(folder.glob("*.pyi"))}


def _run(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    STUBS.mkdir(exist_ok=True)
    for old in STUBS.glob("*.pyi"):
        old.unlink()
    for name, text in stubs().items():
        (STUBS / name).write_text(text)
        print(STUBS / name)
