"""Generated C on this machine: compiled by its compiler, called through ctypes."""

from __future__ import annotations

import ctypes
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

from .. import _core
from ..base.error import DeviceError
from ..base.schema import check_path
from ..graph.graph import Graph

_FLAGS = ("-std=c99", "-O3", "-march=native", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class _End:
    name: str
    size: int
    shape: tuple[int, ...]  # as it lies in memory
    axes: tuple[int, ...]
    scale: np.float32
    zero_point: int
    floats: bool
    tail: str

    @property
    def logical(self) -> tuple[int, ...]:
        lengths = dict(zip(self.axes, self.shape, strict=True))
        return tuple(lengths[i] for i in range(len(self.axes)))


class HostModel:
    """A network that `export` wrote as C, compiled for this machine and loaded.

    Accuracy over a test set is then that of the very code that ships: its integers are the same
    here and on the chip.

    Parameters
    ----------
    folder : path-like
        What ``compressed.export(folder, format="c")`` wrote.
    compiler : str, optional
        A C compiler; by default the environment variable ``CC``, or cc.
    flags : sequence of str
        Its flags, but for those of a shared library.

    Attributes
    ----------
    arena_bytes, weight_bytes : int
        What the header states.

    Raises
    ------
    FileNotFoundError
        If the folder holds no such network.
    DeviceError
        If there is no compiler, or it fails.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        compiler: str | None = None,
        flags: Sequence[str] = _FLAGS,
    ) -> None:
        place = Path(check_path(folder, what="HostModel: folder"))
        self._name, text = _header(place)
        macros = dict(re.findall(r"^#define (\w+) (.+)$", text, re.M))
        big = self._name.upper()
        self.arena_bytes = int(macros[f"{big}_ARENA_BYTES"])
        self.weight_bytes = int(macros[f"{big}_WEIGHT_BYTES"])
        self._inputs = _ends(macros, f"{big}_INPUT")
        self._outputs = _ends(macros, f"{big}_OUTPUT")
        self._library = _compile(place / f"{self._name}.c", compiler, flags)
        self._run = self._function("run", None)
        self._input = [self._pointer("input", i) for i in range(len(self._inputs))]
        self._output = [self._pointer("output", i) for i in range(len(self._outputs))]
        self._tails = [_tail(end) for end in self._outputs]

    def __call__(self, *inputs: ArrayLike) -> Any:
        """Run samples, as a session does.

        Parameters
        ----------
        *inputs : array-like, shape (samples, ...)
            One per input of the source network, in its order of axes: float32 where it takes
            floats, which are rounded to codes, or int8 codes.

        Returns
        -------
        ndarray or tuple of ndarray
            One per output, of the source network's dtype: float32 where it goes on in float.
            What the C leaves to its caller is computed here as a session does.
        """
        codes = self.run(*(self._codes(x, e) for x, e in zip(inputs, self._inputs, strict=True)))
        results = []
        for y, end, tail in zip(codes, self._outputs, self._tails, strict=True):
            if end.floats:
                values = (y.astype(np.float32) - np.float32(end.zero_point)) * end.scale
                results.append(values if tail is None else np.asarray(tail(values)))
            else:
                results.append(y)
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, *inputs: NDArray[np.int8]) -> tuple[NDArray[np.int8], ...]:
        """Run samples of codes.

        Parameters
        ----------
        *inputs : ndarray of int8, shape (samples, ...)
            In the source network's order of axes.

        Returns
        -------
        tuple of ndarray of int8
            Codes of every output, in the source network's order of axes.
        """
        if len(inputs) != len(self._inputs):
            raise ValueError(f"HostModel: must get {len(self._inputs)} inputs, got {len(inputs)}")
        physical = [self._physical(x, e) for x, e in zip(inputs, self._inputs, strict=True)]
        samples = {len(x) for x in physical}
        if len(samples) != 1:
            raise ValueError(f"HostModel: inputs must have one batch size, got {sorted(samples)}")
        count = samples.pop()
        results = [np.empty((count, *end.shape), np.int8) for end in self._outputs]
        for i in range(count):
            for x, view in zip(physical, self._input, strict=True):
                view[:] = x[i].ravel()
            self._run()
            for y, view in zip(results, self._output, strict=True):
                y[i] = view.reshape(y[i].shape)
        return tuple(
            np.ascontiguousarray(y.transpose(0, *(1 + end.axes.index(a) for a in sorted(end.axes))))
            for y, end in zip(results, self._outputs, strict=True)
        )

    def _physical(self, x: NDArray[np.int8], end: _End) -> NDArray[np.int8]:
        array = np.asarray(x)
        if array.dtype != np.int8 or array.shape[1:] != end.logical:
            raise ValueError(
                f"HostModel: input {end.name} must be int8 of shape (samples, "
                f"{', '.join(map(str, end.logical))}), got {array.dtype} {array.shape}"
            )
        return np.asarray(array.transpose(0, *(1 + a for a in end.axes)), np.int8)

    @staticmethod
    def _codes(x: ArrayLike, end: _End) -> NDArray[np.int8]:
        array = np.asarray(x)
        if array.dtype == np.int8:
            return array
        if not end.floats:
            raise TypeError(f"HostModel: input {end.name} must be int8, got {array.dtype}")
        codes = np.rint(array.astype(np.float32) / end.scale) + end.zero_point
        codes = np.where(np.isnan(codes), np.float32(end.zero_point), codes)
        return np.asarray(np.clip(codes, -128, 127), np.int8)

    def _function(self, name: str, result: Any) -> Any:
        function = getattr(self._library, f"{self._name}_{name}")
        function.restype = result
        return function

    def _pointer(self, name: str, index: int) -> NDArray[np.int8]:
        function = self._function(name, ctypes.POINTER(ctypes.c_int8))
        function.argtypes = [ctypes.c_int32]
        size = (self._inputs if name == "input" else self._outputs)[index].size
        return np.ctypeslib.as_array(function(index), (size,))


def _header(folder: Path) -> tuple[str, str]:
    for path in sorted(folder.glob("*.h")) if folder.is_dir() else []:
        text = path.read_text("utf-8")
        if f"{path.stem.upper()}_ARENA_BYTES" in text and path.with_suffix(".c").is_file():
            return path.stem, text
    raise FileNotFoundError(f"HostModel: folder must hold a network in C, got {str(folder)!r}")


def _ends(macros: dict[str, str], prefix: str) -> list[_End]:
    ends = []
    for i in range(int(macros[f"{prefix}S"])):
        own = f"{prefix}_{i}"
        shape, axes = (
            tuple(int(v) for v in re.findall(r"\d+", macros[f"{own}_{part}"]))
            for part in ("SHAPE", "AXES")
        )
        ends.append(
            _End(
                macros[f"{own}_NAME"].strip('"'), int(macros[f"{own}_BYTES"]), shape, axes,
                np.float32(macros[f"{own}_SCALE"]), int(macros[f"{own}_ZERO_POINT"]),
                macros[f"{own}_FLOAT"] == "1", macros.get(f"{own}_TAIL", '""').strip('"'),
            )
        )  # fmt: skip
    return ends


def _compile(source: Path, compiler: str | None, flags: Sequence[str]) -> ctypes.CDLL:
    command = compiler or os.environ.get("CC") or "cc"
    if shutil.which(command) is None:
        raise DeviceError(
            f"HostModel: compiler must be installed, got {command!r}: apt-get install gcc or set CC"
        )
    with tempfile.TemporaryDirectory(prefix="tersor-host-") as folder:
        library = Path(folder) / f"{source.stem}.so"
        done = subprocess.run(
            [command, *flags, "-shared", "-fPIC", "-o", str(library), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DeviceError(f"HostModel: {command} failed on {source}:\n{done.stderr[-2000:]}")
        # The loaded library keeps its file's contents after the folder is gone.
        return ctypes.CDLL(str(library))


def _tail(end: _End) -> Any:
    """Return a function for the float operators behind an output, None where there are none."""
    if not end.tail:
        return None
    graph = Graph()
    edge = graph.add_input("x", "float32", (None, *end.logical))
    for text in end.tail.split("; "):
        op, *words = text.split(" ")
        attributes = {key: _value(value) for key, value in (w.split("=", 1) for w in words)}
        edge = graph.add_node(op, [edge], attributes)
    graph.set_outputs([edge])
    session = _core.runtime.Session(graph, 1, "exact", "fp32", "", 0, False, {})

    def run(x: NDArray[np.float32]) -> Any:
        return session.run([np.ascontiguousarray(x)], None)[0]

    return run


def _value(text: str) -> Any:
    if "," in text:
        return [int(v) for v in text.split(",")]
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


__all__ = ["HostModel"]
