"""Print what a guest needs to run the kernel tests: interpreter, its library, packages (for rsync).

Symbolic links are printed with what they point to; C libraries are left to ``ldd``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("numpy", "ml_dtypes", "rich", "pyyaml", "pytest", "hypothesis")
SKIPPED = {"site-packages", "test", "idlelib", "ensurepip", "lib2to3"}


def distributions() -> Iterator[importlib.metadata.Distribution]:
    """The packages of ROOTS and what they require."""
    seen: set[str] = set()
    queue = list(ROOTS)
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or Python
        yield found
        for requirement in found.requires or ():
            if "extra ==" not in requirement:
                queue.append(re.split(r"[^\w.-]", requirement)[0])


def folder(path: Path) -> Iterator[Path]:
    """Every file below a folder but other packages, tests and tools."""
    for parent, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name not in SKIPPED]
        yield from (Path(parent, name) for name in files if not name.endswith((".a", ".h")))


def files() -> Iterator[Path]:
    link = Path(sys.executable)
    while link.is_symlink():
        yield link
        link = link.parent / link.readlink()
    yield link
    yield Path(sys.prefix, "pyvenv.cfg")
    yield from folder(Path(sysconfig.get_path("stdlib")))
    for found in distributions():
        yield from (Path(str(file.locate())).resolve() for file in found.files or ())
    tersor = importlib.util.find_spec("tersor")
    if tersor is not None and tersor.origin is not None:
        yield from folder(Path(tersor.origin).parent)


if __name__ == "__main__":
    print("\n".join(sorted({str(path) for path in files() if path.exists()})))
