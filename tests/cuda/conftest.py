"""Where the kernels of these tests run: on a device, else compiled for the host and emulated."""

import fcntl
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

import tersor
from tersor.cuda import native

ROOT = Path(__file__).resolve().parents[2]
EMULATION = Path(__file__).resolve().parent / "emulation"


def emulated_extension():
    """_core_cuda for the host; skips where it cannot be compiled."""
    if shutil.which("g++") is None:
        pytest.skip("no CUDA device, and no g++ to emulate one")
    if importlib.util.find_spec("pybind11") is None:
        pytest.skip("no CUDA device, and no pybind11 to emulate one")
    spec = importlib.util.spec_from_file_location("emulation_build", EMULATION / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    package = Path(tersor.__file__).parent
    folder = ROOT / "build" / "emulation"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # of the workers of a parallel run, one compiles
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = build.build(folder, package)
    spec = importlib.util.spec_from_file_location("tersor._core_cuda", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def extension():
    """The loaded extension: that of a device, or the emulated one."""
    if native.is_available():
        return native.extension()
    return emulated_extension()


@pytest.fixture
def cuda(extension, monkeypatch):
    """tersor.cuda with working kernels."""
    monkeypatch.setattr(native, "_loaded", extension)
    monkeypatch.setitem(sys.modules, "tersor._core_cuda", extension)
    import tersor.cuda

    return tersor.cuda
