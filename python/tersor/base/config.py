"""What this build is made of and what it runs on. Native half: ``cpp/tersor/base/config.h``."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core

_PACKAGE = Path(__file__).resolve().parent.parent


def config() -> dict[str, Any]:
    """Describe the build and the machine.

    Returns
    -------
    dict
        Plain data: ``version``, ``compiler``, ``build_type``, ``python``, ``numpy``, ``platform``,
        ``isa`` (``active``, ``supported``, ``features``), ``threads``, ``onednn`` and ``eigen``
        (version or None), ``cuda`` (whether the CUDA extension is there).

    Raises
    ------
    ValueError
        If the environment variable `TERSOR_ISA` names a level that this CPU cannot run.

    Examples
    --------
    >>> import tersor
    >>> tersor.config()["version"] == tersor.__version__
    True
    """
    base = _core.base
    return {
        "version": base.version(),
        "compiler": base.compiler(),
        "build_type": base.build_type(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "isa": {
            "active": base.active_isa(),
            "supported": base.supported_isas(),
            "features": base.active_features(),
        },
        "threads": base.threads(),
        "onednn": base.onednn_version() or None,
        "eigen": base.eigen_version() or None,
        "cuda": importlib.util.find_spec("tersor._core_cuda") is not None,
    }


def processor_name() -> str:
    """Return the name of the processor.

    Returns
    -------
    str
    """
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def show_config() -> None:
    """Print what `config` returns, one line each.

    Raises
    ------
    ValueError
        If the environment variable `TERSOR_ISA` names a level that this CPU cannot run.

    Examples
    --------
    >>> import tersor
    >>> tersor.show_config()  # doctest: +SKIP
    tersor        0.1.0 (GNU 12.2.0, Release)
    """
    c = config()
    isa = c["isa"]
    rows = {
        "tersor": f"{c['version']} ({c['compiler']}, {c['build_type']})",
        "Python": f"{c['python']}, NumPy {c['numpy']}, {c['platform']}",
        "instructions": f"{isa['active']} (available: {', '.join(isa['supported'])})",
        "threads": c["threads"],
        "oneDNN": c["onednn"] or "not built in",
        "Eigen": c["eigen"] or "not built in",
        "CUDA": "extension installed" if c["cuda"] else "not built in",
    }
    for name, value in rows.items():
        print(f"{name:13} {value}")


def get_include() -> str:
    """Folder of the C++ headers: ``#include "tersor/..."``.

    Returns
    -------
    str
        Absolute path.

    Examples
    --------
    >>> import tersor
    >>> tersor.get_include()  # doctest: +SKIP
    '/.../site-packages/tersor/include'
    """
    return str(_PACKAGE / "include")


def get_cmake_dir() -> str:
    """Folder of tersorConfig.cmake, for ``cmake -Dtersor_DIR=...`` and ``find_package(tersor)``.

    Returns
    -------
    str
        Absolute path.

    Examples
    --------
    >>> import tersor
    >>> tersor.get_cmake_dir()  # doctest: +SKIP
    '/.../site-packages/tersor/lib/cmake/tersor'
    """
    return str(_PACKAGE / "lib" / "cmake" / "tersor")


__all__ = ["config", "get_cmake_dir", "get_include", "show_config"]
