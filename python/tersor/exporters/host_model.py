"""Generated C on this machine: compiled by its compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.error import DeviceError
from ..base.schema import check_path
from .c_ends import read_ends, read_header, read_macros

_FLAGS = ("-std=c99", "-O3", "-march=native", "-Wall", "-Wextra", "-Werror")


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
        self._name, text = read_header(place)
        macros = read_macros(text)
        big = self._name.upper()
        self.arena_bytes = int(macros[f"{big}_ARENA_BYTES"])
        self.weight_bytes = int(macros[f"{big}_WEIGHT_BYTES"])
        self._inputs = read_ends(macros, f"{big}_INPUT")
        self._outputs = read_ends(macros, f"{big}_OUTPUT")
        self._library = _compile(place / f"{self._name}.c", compiler, flags)
        self._run: Callable[[], None]
        self._rows = int(macros.get(f"{big}_INPUT_0_ROWS", 0))
        if self._rows:
            self._feed = self._function("feed", ctypes.c_int32)
            self._row = self._function("input_row", ctypes.POINTER(ctypes.c_int8))
            self._image = np.empty(self._inputs[0].size, np.int8)
            self._run, self._input = self._run_rows, [self._image]
        else:
            self._run = self._function("run", None)
            self._input = [self._pointer("input", i) for i in range(len(self._inputs))]
        self._output = [self._pointer("output", i) for i in range(len(self._outputs))]

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
        codes = self.run(*(e.codes(x) for x, e in zip(inputs, self._inputs, strict=True)))
        results = [end.values(y) for y, end in zip(codes, self._outputs, strict=True)]
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
        physical = [e.to_memory(x) for x, e in zip(inputs, self._inputs, strict=True)]
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
        return tuple(end.from_memory(y) for y, end in zip(results, self._outputs, strict=True))

    def _run_rows(self) -> None:
        """Bring the input row by row."""
        for row in self._image.reshape(self._rows, -1):
            np.ctypeslib.as_array(self._row(), (row.size,))[:] = row
            self._feed()

    def _function(self, name: str, result: Any) -> Any:
        function = getattr(self._library, f"{self._name}_{name}")
        function.restype = result
        return function

    def _pointer(self, name: str, index: int) -> NDArray[np.int8]:
        function = self._function(name, ctypes.POINTER(ctypes.c_int8))
        function.argtypes = [ctypes.c_int32]
        size = (self._inputs if name == "input" else self._outputs)[index].size
        return np.ctypeslib.as_array(function(index), (size,))


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


__all__ = ["HostModel"]
