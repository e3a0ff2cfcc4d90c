"""C99 for microcontrollers: one .c, one .h and an example. Kernels: ``cpp/tersor/codegen``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..base.error import UnsupportedError
from ..base.schema import check_path
from ..targets.cost_model import LayerCost, layer_kind, model_latency
from ..targets.target import Target
from .c_lower import Lowering, Program
from .c_plan import Layer, Memory, plan
from .c_rows import Read, Rowwise
from .c_stream import Planner
from .c_text import example, header, identifier, source
from .decode import with_widened, without_codebooks
from .files import check_folder, write_folder

# Flash that the code of a network takes at most, and the stack of its deepest call
# (docs/benchmarks.md, generated C).
CODE_BYTES = 12 * 1024
_STACK_BYTES = 512


def write(
    graph: Any,
    path: Path,
    *,
    target: str | Path | Target | None = None,
    kernels: Literal["portable", "dsp"] | None = None,
    name: str | None = None,
    streaming: bool = False,
    rows_in: bool = False,
) -> dict[str, str]:
    """Write a network as C into a new folder, which appears completely or not at all.

    Parameters
    ----------
    graph : Graph
        Int8 throughout: what stands before its quantizers and behind its last dequantizer is left
        to the caller and stated in the header.
    path : Path
        A folder that does not exist yet.
    target : str, Path or Target, optional
        Chooses the kernels, and is what the network must fit into.
    kernels : {"portable", "dsp"}, optional
        "portable" is plain C for any core; "dsp" is for Arm cores with SMLAD (Cortex-M4, M7, M33)
        and runs everywhere. By default what the target has, else "portable".
    name : str, optional
        Of the files, and prefix of all names; by default "network".
    streaming : bool, default False
        Run the layers that need the most memory row by row, holding only the rows of each
        activation that are still needed. Nothing is computed twice, the bits are the same.
    rows_in : bool, default False
        Streaming, with the input as well: the caller brings it row by row, and it is held no
        longer than that.

    Returns
    -------
    dict of str to str
        Layers whose weights are stored with more bits, or more zeros, than in the graph.

    Raises
    ------
    UnsupportedError
        If an operator has no C kernel, or no layer can run row by row; the message names the layer.
    ValueError
        If the network does not fit into the target; the message names the layer and the numbers.
    FileExistsError
        If `path` exists.
    FileNotFoundError
        If its folder does not.
    OSError
        If it cannot be written there.
    """
    place = Path(check_path(path, what="export c: path"))
    profile = None if target is None else Target.load(target)
    text_name = _name(name)
    given = graph
    graph, decoded = without_codebooks(graph)
    program, memory = lower(graph, _kernels(kernels, profile), streaming=streaming, rows_in=rows_in)
    if profile is not None:
        check_fit(program, memory, profile, {n.name: layer_kind(graph, n) for n in graph.nodes})
    head = _head(graph, program)
    files = {
        f"{text_name}.h": header(program, memory, text_name, head),
        f"{text_name}.c": source(program, memory, text_name, head),
        "main.c": example(text_name, program.fed),
    }
    _check_new(place)
    write_folder(place, files)
    packed, sparse = (_layers_with(graph, program, table) for table in ("codebook", "blocks"))
    unpacked = {name: why for name, why in decoded.items() if name not in packed}
    return with_widened(given, unpacked, packed=packed, sparse=sparse)


def _layers_with(graph: Any, program: Program, table: str) -> set[str]:
    """Names of the nodes whose kernel reads a table of that name."""
    outer = [x.name for x in program.layers if any(c.name == table for c in x.constants)]
    # A layer that adds its residual is named after both nodes.
    return {
        node.name
        for node in graph.nodes
        if any(name == node.name or name.startswith(f"{node.name} + ") for name in outer)
    }


def describe(path: Path) -> str:
    """Return the memory that a written network takes on a device.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
    """
    text = next(path.glob("*.h")).read_text("utf-8")
    found = dict(re.findall(r"^#define \w+_(WEIGHT|ARENA)_BYTES (\d+)$", text, re.M))
    weights, arena = int(found["WEIGHT"]), int(found["ARENA"])
    return f"source text; on the device {weights:,} bytes of weights, {arena:,} of activations"


def lower(
    graph: Any, kernels: str, *, streaming: bool = False, rows_in: bool = False
) -> tuple[Program, Memory]:
    """Lower a network and place its memory.

    Parameters
    ----------
    graph : Graph
    kernels : {"portable", "dsp"}
    streaming, rows_in : bool

    Returns
    -------
    tuple of Program and Memory
    """
    for what, value in (("streaming", streaming), ("rows_in", rows_in)):
        if not isinstance(value, bool):
            raise TypeError(f"export c: {what} must be a bool, got {value!r}")
    program = Lowering(graph, kernels).run()
    if rows_in:
        _feed(program)
    inputs = [end.activation.buffer for end in program.inputs]
    outputs = [end.activation.buffer for end in program.outputs]
    if not streaming and not rows_in:
        return program, plan(program.layers, program.sizes, inputs, outputs)
    if all(layer.rows is None for layer in program.layers):
        layer = program.layers[0]
        raise UnsupportedError(
            "export c: streaming must find a layer that can run row by row, got none; layer "
            f"{layer.name} ({layer.op}) needs its whole input"
        )
    planner = Planner(program.layers, program.sizes, inputs, outputs, program.fed)
    memory, program.stream = planner.run()
    return program, memory


@dataclass(frozen=True)
class Footprint:
    """What generated C takes of a device.

    Attributes
    ----------
    ram_bytes : int
        Of activations, scratch memory and stack.
    flash_bytes : int
        Of weights and tables, and at most of code.
    ram_layer, flash_layer : (str, int)
        The layer with the most memory, and the one with the most weights, and their bytes.
    """

    ram_bytes: int
    flash_bytes: int
    ram_layer: tuple[str, int]
    flash_layer: tuple[str, int]


def footprint(graph: Any, target: Target) -> Footprint:
    """Return what the C code of a network takes of a device, without writing it.

    Parameters
    ----------
    graph : Graph
        Int8 throughout.
    target : Target
        Chooses the kernels.

    Returns
    -------
    Footprint

    Raises
    ------
    UnsupportedError
        If an operator has no C kernel; the message names the layer.
    """
    graph, _ = without_codebooks(graph)
    program, memory = lower(graph, _kernels(None, target))
    weights = [layer.flash_bytes for layer in program.layers]
    names = [layer.name for layer in program.layers]
    live, stored = int(np.argmax(memory.live)), int(np.argmax(weights))
    return Footprint(
        memory.total + _STACK_BYTES,
        sum(weights) + CODE_BYTES,
        (names[live], memory.live[live]),
        (names[stored], weights[stored]),
    )


def _feed(program: Program) -> None:
    """Make the caller the first layer: the one that writes the rows of the input."""
    if len(program.inputs) != 1:
        raise UnsupportedError(
            f"export c: rows_in must have a network with one input, got {len(program.inputs)}"
        )
    x = program.inputs[0].activation
    reads = [
        (layer, read) for layer in program.layers if x.buffer in layer.inputs
        for read in (layer.rows.reads if layer.rows else [None])
        if read is None or read.buffer == x.buffer
    ]  # fmt: skip
    shapes = {(read.rows, read.row_bytes) for _, read in reads if isinstance(read, Read)}
    rows, row_bytes = shapes.pop() if shapes else (1, x.size)
    if shapes or rows < 2 or any(read is None for _, read in reads):
        layer = next((layer for layer, read in reads if read is None), program.layers[0])
        raise UnsupportedError(
            "export c: rows_in must have an input that is read row by row, got layer "
            f"{layer.name} ({layer.op}), which needs it whole"
        )
    feed = Layer(f"{x.name} row", "input", (), x.buffer, lambda at, _: [])
    feed.rows = Rowwise((), rows, row_bytes, lambda place: [])
    program.layers.insert(0, feed)
    program.fed = True


def check_fit(
    program: Program, memory: Memory, target: Target, kinds: Mapping[str, str] | None = None
) -> None:
    """Raise where a network does not fit into a target.

    Parameters
    ----------
    program : Program
    memory : Memory
    target : Target
    kinds : mapping of str to str, optional
        Kinds of the nodes (:func:`tersor.targets.cost_model.layer_kind`), for the time.

    Raises
    ------
    ValueError
        Names the layer with the most memory, or the one with the most weights.
    """
    total = memory.total + (0 if program.stream is None else program.stream.ring_bytes)
    ram = total + _STACK_BYTES
    if ram > target.ram_bytes:
        worst = int(np.argmax(memory.live))
        raise ValueError(
            f"export c: RAM of target {target.name} must hold {ram:,} bytes ({total:,} of "
            f"activations and {_STACK_BYTES} of stack), got {target.ram_bytes:,}; layer "
            f"{program.layers[worst].name} needs {memory.live[worst]:,} bytes"
        )
    _check_time(program, target, kinds or {})
    weights = [layer.flash_bytes for layer in program.layers]
    flash = sum(weights) + CODE_BYTES
    if target.flash_bytes is not None and flash > target.flash_bytes:
        worst = int(np.argmax(weights))
        raise ValueError(
            f"export c: flash of target {target.name} must hold {flash:,} bytes "
            f"({sum(weights):,} of weights and tables, up to {CODE_BYTES:,} of code), got "
            f"{target.flash_bytes:,}; layer {program.layers[worst].name} has "
            f"{weights[worst]:,} bytes of weights"
        )


def _check_time(program: Program, target: Target, kinds: Mapping[str, str]) -> None:
    limit = target.constraints.latency
    if limit is None:
        return
    # A layer that adds its residual is named after both nodes.
    costs = [
        LayerCost(
            x.name, x.macs, x.weight_bytes, 0, "int8",
            kinds.get(x.name, kinds.get(x.name.split(" + ")[0], "")),
        )
        for x in program.layers
    ]  # fmt: skip
    total = model_latency(target, costs).value
    if total > limit:
        times = [model_latency(target, [cost]).value for cost in costs]
        worst = int(np.argmax(times))
        raise ValueError(
            f"export c: latency on target {target.name} must be at most {limit * 1e3:.3g} ms, got "
            f"{total * 1e3:.3g} ms (modelled); layer {costs[worst].name} takes "
            f"{times[worst] * 1e3:.3g} ms"
        )


def _kernels(kernels: str | None, target: Target | None) -> str:
    if kernels is None:
        return "dsp" if target is not None and "dsp" in target.features else "portable"
    if kernels not in ("portable", "dsp"):
        raise ValueError(f"export c: kernels must be portable or dsp, got {kernels!r}")
    return kernels


def _name(name: str | None) -> str:
    if name is None:
        return "network"
    if not isinstance(name, str) or identifier(name) != name or name == "main":
        raise ValueError(
            "export c: name must be lower-case letters, digits and underscores, other than main, "
            f"got {name!r}"
        )
    return name


def _head(graph: Any, program: Program) -> str:
    what = re.sub(r"[^ -~]|\*/|/\*", " ", graph.description or "a network").strip() or "a network"
    kind = {"portable": "portable C", "dsp": "C for Arm cores with the DSP extension"}
    return (
        f"/* {what[:200]}\n"
        f" * Generated by tersor {__version__}: {kind[program.kernels]}, int8 only, no\n"
        " * allocation. Same bits as tersor.simulate. */"
    )


def _check_new(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FileExistsError(
            f"export c: path must be a folder that does not exist, got {str(path)!r}"
        )
    check_folder(path, "export c")


__all__ = ["CODE_BYTES", "Footprint", "check_fit", "describe", "footprint", "lower", "write"]
