"""Generated C on an emulated microcontroller: cross-compiled, run under QEMU, counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.error import DeviceError
from ..base.schema import check_path
from .c_ends import read_ends, read_header, read_macros

_FOLDER = Path(__file__).resolve().parent / "board"
_ARM = "qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi"
_RISCV = "qemu-system-misc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"


@dataclass(frozen=True)
class _Board:
    """A machine of QEMU, and how to compile for it."""

    machine: str
    flags: tuple[str, ...]
    flash: int = 0
    flash_bytes: int = 4 << 20
    ram: int = 0x20000000
    ram_bytes: int = 4 << 20
    riscv: bool = False

    @property
    def prefix(self) -> str:
        return "riscv64-unknown-elf-" if self.riscv else "arm-none-eabi-"

    @property
    def emulator(self) -> str:
        return "qemu-system-riscv32" if self.riscv else "qemu-system-arm"


_SOFT = ("-mthumb", "-mfloat-abi=soft")
_BOARDS = {
    "microbit": _Board(
        "microbit", ("-mcpu=cortex-m0", "-mthumb"), flash_bytes=256 << 10, ram_bytes=16 << 10
    ),
    # A Cortex-M3 that runs the code of a Cortex-M0, for networks beyond 16 KB.
    "cortex-m0": _Board("mps2-an385", ("-mcpu=cortex-m0", "-mthumb")),
    "cortex-m3": _Board("mps2-an385", ("-mcpu=cortex-m3", "-mthumb")),
    "cortex-m4": _Board("mps2-an386", ("-mcpu=cortex-m4", *_SOFT)),
    "cortex-m7": _Board("mps2-an500", ("-mcpu=cortex-m7", *_SOFT)),
    "cortex-m33": _Board(
        "mps2-an505", ("-mcpu=cortex-m33", *_SOFT), flash=0x10000000, ram=0x38000000
    ),
    "cortex-m55": _Board(
        "mps3-an547", ("-mcpu=cortex-m55", *_SOFT), flash_bytes=512 << 10, ram_bytes=512 << 10
    ),
    "rv32imac": _Board("virt", ("-march=rv32imac", "-mabi=ilp32"), riscv=True),
}


@dataclass(frozen=True)
class Emulation:
    """What one run of generated C on an emulated core said.

    Attributes
    ----------
    core : str
    outputs : tuple of ndarray of int8
        Codes of every output, in the source network's order of axes.
    instructions : int
        Of one inference.
    stack_bytes : int
        The deepest stack of one inference.
    data_bytes : int
        Static memory of the network: the arena.
    code_bytes, weight_bytes : int
        What the network takes of flash.
    """

    core: str
    outputs: tuple[NDArray[np.int8], ...]
    instructions: int
    stack_bytes: int
    data_bytes: int
    code_bytes: int
    weight_bytes: int

    @property
    def ram_bytes(self) -> int:
        """Static memory and the deepest stack."""
        return self.data_bytes + self.stack_bytes

    @property
    def flash_bytes(self) -> int:
        """Code and weights."""
        return self.code_bytes + self.weight_bytes


class EmulatedModel:
    """A network that `export` wrote as C, compiled for a core that QEMU emulates.

    Instructions, memory and outputs are those of the chip; time is not: QEMU counts no cycles.

    Parameters
    ----------
    folder : path-like
        What ``compressed.export(folder, format="c")`` wrote.
    core : str, default "cortex-m4"
        One of :func:`emulated_cores`.
    flags : sequence of str, default ("-O2",)
        Of the compiler.

    Raises
    ------
    FileNotFoundError
        If the folder holds no such network.
    ValueError
        If the core is not known, or the network was exported under another name than "network".
    DeviceError
        If the compiler or QEMU is missing; the message says what to install.

    Examples
    --------
    >>> model = EmulatedModel("model_c", "cortex-m4")      # doctest: +SKIP
    >>> model.emulate(images[:4]).instructions             # doctest: +SKIP
    846913
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        core: str = "cortex-m4",
        *,
        flags: Sequence[str] = ("-O2",),
    ) -> None:
        place = Path(check_path(folder, what="EmulatedModel: folder"))
        if core not in _BOARDS:
            known = ", ".join(_BOARDS)
            raise ValueError(f"EmulatedModel: core must be one of {known}, got {core!r}")
        missing = missing_tools(core)
        if missing:
            raise DeviceError(f"EmulatedModel: {missing}")
        name, text = read_header(place)
        if name != "network":
            raise ValueError(f"EmulatedModel: folder must hold network.c, got {name}.c")
        macros, big = read_macros(text), name.upper()
        self.core = core
        self.weight_bytes = int(macros[f"{big}_WEIGHT_BYTES"])
        self.inputs = read_ends(macros, f"{big}_INPUT")
        self.outputs = read_ends(macros, f"{big}_OUTPUT")
        self._board, self._folder, self._flags = _BOARDS[core], place, flags

    def __call__(self, *inputs: ArrayLike) -> Any:
        """Run samples, as a session does.

        Parameters
        ----------
        *inputs : array-like, shape (samples, ...)

        Returns
        -------
        ndarray or tuple of ndarray
        """
        codes = self.emulate(*inputs).outputs
        results = [end.values(y) for y, end in zip(codes, self.outputs, strict=True)]
        return results[0] if len(results) == 1 else tuple(results)

    def emulate(self, *inputs: ArrayLike) -> Emulation:
        """Run samples and count the first one.

        Parameters
        ----------
        *inputs : array-like, shape (samples, ...)
            One per input of the source network, in its order of axes: float32 where it takes
            floats, which are rounded to codes, or int8 codes.

        Returns
        -------
        Emulation

        Raises
        ------
        DeviceError
            If the compiler or QEMU fails.
        """
        codes = [
            end.to_memory(end.codes(x)).reshape(len(np.asarray(x)), -1)
            for x, end in zip(inputs, self.inputs, strict=True)
        ]
        with tempfile.TemporaryDirectory(prefix="tersor-emulated-") as folder:
            place = Path(folder)
            sections = self._compile(place)
            np.concatenate(codes, axis=1).tofile(place / "inputs.bin")
            self._emulate(place, 300 + 60 * len(codes[0]))
            counts = np.fromfile(place / "counts.bin", np.uint32)
            found = np.fromfile(place / "outputs.bin", np.int8)
        rows = found.reshape(len(codes[0]), -1)
        ends = np.cumsum([end.size for end in self.outputs])[:-1]
        parts = zip(np.split(rows, ends, axis=1), self.outputs, strict=True)
        return Emulation(
            core=self.core,
            outputs=tuple(end.from_memory(part) for part, end in parts),
            instructions=int(counts[0]),
            stack_bytes=int(counts[1]),
            data_bytes=_section_bytes(sections, ".data", ".bss", ".sbss"),
            code_bytes=_section_bytes(sections, ".text"),
            weight_bytes=self.weight_bytes,
        )

    def _compile(self, place: Path) -> str:
        """Compile, link, and return the sections of the network's object file."""
        board = self._board
        compiler = [f"{board.prefix}gcc", *board.flags, *self._flags]
        if board.riscv:
            compiler.append("--specs=picolibc.specs")
        strict = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
        source = self._folder.resolve() / "network.c"
        _call([*compiler, *strict, "-c", str(source), "-o", "network.o"], place)
        addresses = {
            "FLASH": board.flash,
            "FLASH_BYTES": board.flash_bytes,
            "RAM": board.ram,
            "RAM_BYTES": board.ram_bytes,
        }
        symbols = [f"-Wl,--defsym={name}={value:#x}" for name, value in addresses.items()]
        start = "riscv" if board.riscv else "arm"
        sizes = {
            side: ",".join(str(end.size) for end in ends)
            for side, ends in (("INPUT", self.inputs), ("OUTPUT", self.outputs))
        }
        _call(
            [
                *compiler,
                *(f"-D{side}_BYTES={text}" for side, text in sizes.items()),
                f"-I{self._folder.resolve()}",
                *(str(_FOLDER / name) for name in ("main.c", f"{start}.c")),
                "network.o",
                "-nostartfiles",
                *("-T", str(_FOLDER / f"{start}.ld")),
                *([] if board.riscv else symbols),
                *("-o", "network.elf"),
            ],
            place,
        )
        return _call([f"{board.prefix}size", "-A", "network.o"], place)

    def _emulate(self, place: Path, seconds: int) -> None:
        board = self._board
        # One instruction a nanosecond of emulated time: its clocks then count instructions.
        options = ["-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
        options += ["-semihosting-config", "enable=on,target=native"]
        if board.riscv:
            options += ["-bios", "none"]
        command = [board.emulator, "-machine", board.machine, *options, "-kernel", "network.elf"]
        _call(command, place, seconds)


def emulated_cores() -> tuple[str, ...]:
    """Return the cores that generated C can be emulated on.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> "cortex-m4" in emulated_cores()
    True
    """
    return tuple(_BOARDS)


def missing_tools(core: str) -> str:
    """Say what must be installed before a core can be emulated.

    Parameters
    ----------
    core : str
        One of :func:`emulated_cores`.

    Returns
    -------
    str
        Empty where nothing is missing.
    """
    board = _BOARDS[core]
    packages = _RISCV if board.riscv else _ARM
    for tool in (f"{board.prefix}gcc", board.emulator):
        if shutil.which(tool) is None:
            return f"{tool} must be installed: apt-get install {packages}"
    return ""


def _section_bytes(sections: str, *names: str) -> int:
    found = re.findall(r"^(\.[\w.]+)\s+(\d+)", sections, re.M)
    return sum(int(size) for key, size in found if key.startswith(names))


def _call(command: list[str], place: Path, seconds: int = 300) -> str:
    try:
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"EmulatedModel: {command[0]} took more than {seconds} s") from None
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr}"[-2000:]
        raise DeviceError(f"EmulatedModel: {command[0]} failed:\n{said}")
    return done.stdout


__all__ = ["EmulatedModel", "Emulation", "emulated_cores", "missing_tools"]
