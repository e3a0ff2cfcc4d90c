"""Generated C of a network on an emulated core: bits, instructions, memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import DeviceError, UnsupportedError
from ..exporters import EmulatedModel, emulated_cores, export
from ..exporters.emulated_model import missing_tools
from ..runtime import simulate
from ..targets.target import Target
from .model import graph_of


@dataclass(frozen=True)
class EmulatedRun:
    """What generated C did on an emulated core; without instructions, why it did not run.

    Attributes
    ----------
    core : str
    instructions : int or None
        Of one inference; None where nothing ran.
    data_bytes, stack_bytes : int
        Static memory, and the deepest stack.
    code_bytes, weight_bytes : int
        What lies in flash.
    samples, identical : int
        That were run, and whose outputs equal those of ``tersor.simulate`` to the last bit.
    reason : str
        Why nothing ran.
    """

    core: str
    instructions: int | None = None
    data_bytes: int = 0
    stack_bytes: int = 0
    code_bytes: int = 0
    weight_bytes: int = 0
    samples: int = 0
    identical: int = 0
    reason: str = ""

    @property
    def ram_bytes(self) -> int:
        """Static memory and the deepest stack."""
        return self.data_bytes + self.stack_bytes

    @property
    def flash_bytes(self) -> int:
        """Code and weights."""
        return self.code_bytes + self.weight_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return dict(vars(self))


def run_on_emulator(model: Any, target: Target, x: NDArray[Any]) -> EmulatedRun | None:
    """Write a network as C, compile it for the target's core, and run samples under QEMU.

    Parameters
    ----------
    model : Graph or CompressedModel
    target : Target
    x : ndarray, shape (samples, ...)
        What the network takes.

    Returns
    -------
    EmulatedRun or None
        None where the target's core has no emulator.
    """
    core = target.latency_model.core
    if core not in emulated_cores():
        return None
    missing = missing_tools(core)
    if missing:
        return EmulatedRun(core, reason=missing)
    with tempfile.TemporaryDirectory(prefix="tersor-report-") as place:
        folder = Path(place) / "c"
        try:
            export(model, folder, "c", target=target)
            emulated = EmulatedModel(folder, core)
            found = emulated.emulate(x)
        except (UnsupportedError, ValueError, DeviceError) as error:
            return EmulatedRun(core, reason=str(error))
    got = emulated.outputs[0].values(found.outputs[0])
    want = np.asarray(simulate(graph_of(model), x))
    same = (got == want).reshape(len(want), -1).all(axis=1)
    return EmulatedRun(
        core=core,
        instructions=found.instructions,
        data_bytes=found.data_bytes,
        stack_bytes=found.stack_bytes,
        code_bytes=found.code_bytes,
        weight_bytes=found.weight_bytes,
        samples=len(same),
        identical=int(same.sum()),
    )


__all__ = ["EmulatedRun", "run_on_emulator"]
