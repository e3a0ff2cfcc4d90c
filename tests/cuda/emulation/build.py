"""Compile ``_core_cuda`` for the host: the same .cu files against the emulation beside this."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent


def build(folder: Path, package: Path, compiler: str = "g++") -> Path:
    """Compile what changed and link; returns the extension.

    Parameters
    ----------
    folder : Path
        For objects and the result.
    package : Path
        The installed package, whose libtersor.so is linked.
    compiler : str, default "g++"
    """
    import pybind11

    folder.mkdir(parents=True, exist_ok=True)
    includes = [
        HERE,  # first: it stands in for cuda_runtime.h
        ROOT / "cpp",
        ROOT / "cpp" / "bindings" / "cuda",
        package / "include",
        Path(pybind11.get_include()),
        Path(sysconfig.get_paths()["include"]),
    ]
    flags = [
        *("-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"),
        *("-fno-strict-aliasing", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror"),
        *("-DTERSOR_CUDA_EMULATED=1", *(f"-I{path}" for path in includes)),
    ]
    sources = [
        HERE / "emulation.cpp",
        *sorted((ROOT / "cpp" / "tersor").glob("*/*.cu")),
        *sorted((ROOT / "cpp" / "bindings" / "cuda").glob("*.cpp")),
    ]

    def compiled(source: Path) -> Path:
        out = folder / f"{source.parent.name}_{source.name}.o"
        if not out.exists() or out.stat().st_mtime < newest_part(out):
            flag = ["-MD", "-MF", str(out.with_suffix(".d"))]
            run([compiler, *flags, *flag, "-x", "c++", "-c", str(source), "-o", str(out)])
        return out

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    out = folder / f"_core_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not out.exists() or any(path.stat().st_mtime > out.stat().st_mtime for path in objects):
        run([compiler, "-shared", *map(str, objects), f"-L{package}", "-ltersor", "-ldl",
             f"-Wl,-rpath,{package}", "-o", str(out)])  # fmt: skip
    return out


def newest_part(out: Path) -> float:
    """Time of the newest file that an object was compiled from; never before it was compiled."""
    rules = out.with_suffix(".d")
    if not rules.exists():
        return float("inf")
    parts = [Path(p) for p in rules.read_text().split(":", 1)[1].replace("\\\n", " ").split()]
    return max((p.stat().st_mtime if p.exists() else float("inf")) for p in parts)


def run(command: list[str]) -> None:
    """Run a compiler; its messages are the error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), Path(sys.argv[2])))
