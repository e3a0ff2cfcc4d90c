"""Emulated microcontrollers: a generated network, compiled and run under QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_FOLDER = Path(__file__).resolve().parent / "board"
_PACKAGES = "qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi"
_PACKAGES_RISCV = "qemu-system-misc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"


@dataclass(frozen=True)
class Board:
    """A machine of QEMU, and how to compile for it."""

    machine: str
    flags: tuple[str, ...]
    flash: int = 0
    flash_bytes: int = 4 << 20
    ram: int = 0x20000000
    ram_bytes: int = 4 << 20
    riscv: bool = False


_MVE = ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=soft")
BOARDS = {
    "microbit": Board(
        "microbit", ("-mcpu=cortex-m0", "-mthumb"), flash_bytes=256 << 10, ram_bytes=16 << 10
    ),
    # A Cortex-M3 that runs the code of a Cortex-M0, for networks beyond 16 KB.
    "m0": Board("mps2-an385", ("-mcpu=cortex-m0", "-mthumb")),
    "m3": Board("mps2-an385", ("-mcpu=cortex-m3", "-mthumb")),
    "m4": Board("mps2-an386", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft")),
    "m7": Board("mps2-an500", ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=soft")),
    "m33": Board(
        "mps2-an505", ("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=soft"), flash=0x10000000,
        ram=0x38000000,
    ),
    "m55": Board("mps3-an547", _MVE, flash_bytes=512 << 10, ram_bytes=512 << 10),
    "rv32": Board("virt", ("-march=rv32imac", "-mabi=ilp32"), riscv=True),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What one run said."""

    outputs: NDArray[np.int8]  # (samples, codes of all outputs)
    instructions: int
    stack_bytes: int
    text_bytes: int  # code of network.c
    data_bytes: int  # .data and .bss of network.c: the arena


def require(name: str) -> Board:
    """Return a board, or skip the test where its compiler or emulator is missing."""
    board = BOARDS[name]
    prefix, emulator = _tools(board)
    for tool in (f"{prefix}gcc", emulator):
        if shutil.which(tool) is None:
            packages = _PACKAGES_RISCV if board.riscv else _PACKAGES
            pytest.skip(f"{tool} is not installed: apt-get install {packages}, or make test-mcu")
    return board


def run(
    name: str, network: Path, codes: NDArray[np.int8], place: Path, flags: tuple[str, ...] = ()
) -> Measured:
    """Run samples (in the C network's own order of dimensions) and count the first run.

    Parameters
    ----------
    name : str
        Of the board.
    network : Path
        Folder that `export` wrote.
    codes : ndarray of int8, shape (samples, ...)
        Of the only input.
    place : Path
        Folder for files of this run.
    flags : tuple of str
        Further flags of the compiler.
    """
    board = require(name)
    prefix, emulator = _tools(board)
    place.mkdir(parents=True, exist_ok=True)
    header = (network / "network.h").read_text()

    def sizes(kind: str) -> str:
        return ",".join(re.findall(rf"^#define NETWORK_{kind}_\d+_BYTES (\d+)$", header, re.M))

    compiler = [f"{prefix}gcc", *board.flags, "-O2", *flags]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    if board.riscv:
        compiler.append("--specs=picolibc.specs")
    _call([*compiler, *strict, "-c", str(network / "network.c"), "-o", "network.o"], place)
    start = "riscv" if board.riscv else "arm"
    addresses = (
        ("FLASH", board.flash), ("FLASH_BYTES", board.flash_bytes),
        ("RAM", board.ram), ("RAM_BYTES", board.ram_bytes),
    )  # fmt: skip
    symbols = [] if board.riscv else [f"-Wl,--defsym={k}={v:#x}" for k, v in addresses]
    _call(
        [
            *compiler, f"-DINPUT_BYTES={sizes('INPUT')}", f"-DOUTPUT_BYTES={sizes('OUTPUT')}",
            f"-I{network}", str(_FOLDER / "main.c"), str(_FOLDER / f"{start}.c"), "network.o",
            "-nostartfiles", "-T", str(_FOLDER / f"{start}.ld"), *symbols, "-o", "network.elf",
        ],
        place,
    )  # fmt: skip
    codes.tofile(place / "inputs.bin")
    bios = ["-bios", "none"] if board.riscv else []
    _call(
        [
            emulator, "-machine", board.machine, *bios, "-nographic", "-monitor", "none", "-serial",
            "none", "-semihosting-config", "enable=on,target=native", "-icount", "shift=0",
            "-kernel", "network.elf",
        ],
        place,
    )  # fmt: skip
    counts = np.fromfile(place / "counts.bin", np.uint32)
    outputs = np.fromfile(place / "outputs.bin", np.int8).reshape(len(codes), -1)
    sections = _call([f"{prefix}size", "-A", "network.o"], place)

    def section(*names: str) -> int:
        found = re.findall(r"^(\.[\w.]+)\s+(\d+)", sections, re.M)
        return sum(int(size) for key, size in found if key.startswith(names))

    return Measured(
        outputs, int(counts[0]), int(counts[1]), section(".text"), section(".data", ".bss", ".sbss")
    )


def _tools(board: Board) -> tuple[str, str]:
    if board.riscv:
        return "riscv64-unknown-elf-", "qemu-system-riscv32"
    return "arm-none-eabi-", "qemu-system-arm"


def _call(command: list[str], place: Path) -> str:
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout
