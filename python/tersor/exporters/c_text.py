"""The files of generated C: the text of kernels, tables and layers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.config import get_include
from .c_lower import End, Program
from .c_plan import Constant, Layer, Memory
from .c_stream import Stream
from .c_stream_text import feed_text, run_text, step_function, tables

_FILES = (
    "quantization/requantize_c99.h",
    "codegen/conv_c99.h",
    "codegen/layers_c99.h",
    "codegen/conv_dsp.h",
    "codegen/stream_c99.h",
    "codegen/select_c99.h",
)
_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
}


@cache
def _pieces() -> list[tuple[set[str], str]]:
    """Return the types and functions of the kernels, in order, with the names that each defines."""
    found = []
    for name in _FILES:
        text = (Path(get_include()) / "tersor" / name).read_text("utf-8")
        for piece in re.split(r"\n\n(?=[^\s])", text.rstrip("\n")):
            names = set(re.findall(r"\b(tersor_\w+)\(", _heads(piece)))
            names |= set(re.findall(r"^(?:\}|typedef \w+) (tersor_\w+);", piece, re.M))
            names |= set(re.findall(r"^#define (TERSOR_\w+)", piece, re.M))
            if names:
                found.append((names, piece))
    return found


def _heads(piece: str) -> str:
    """Lines that begin a function."""
    lines = re.findall(r"^.*\bstatic [^;{]*\{", piece, re.M)
    return "\n".join(lines)


def kernels(text: str) -> str:
    """Return the types and functions that a text uses, and what those use.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    wanted: set[int] = set()
    pieces = _pieces()
    todo = [text]
    while todo:
        code = re.sub(r"/\*.*?\*/", "", todo.pop(), flags=re.S)
        words = set(re.findall(r"\b(?:tersor|TERSOR)_\w+", code))
        for i, (names, piece) in enumerate(pieces):
            if i not in wanted and names & words:
                wanted.add(i)
                todo.append(piece)
    return "\n\n".join(piece for i, (_, piece) in enumerate(pieces) if i in wanted)


def array(constant: Constant, name: str) -> str:
    """Return the definition of a table.

    Parameters
    ----------
    constant : Constant
    name : str

    Returns
    -------
    str
    """
    values = [_literal(v) for v in constant.values.ravel().tolist()]
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {value},"
    lines.append(line)
    kind = _TYPES[constant.values.dtype.name]
    aligned = "TERSOR_ALIGNED " if constant.aligned else ""
    return f"{aligned}static const {kind} {name}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};"


def _literal(value: int) -> str:
    return "-2147483647 - 1" if value == -(2**31) else str(value)


def identifier(text: str) -> str:
    """Return a name that C takes.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    return name if name and not name[0].isdigit() else f"n_{name}".rstrip("_")


def source(program: Program, memory: Memory, name: str, head: str) -> str:
    """Return the text of the .c file.

    Parameters
    ----------
    program : Program
    memory : Memory
    name : str
        Prefix of all names.
    head : str
        First comment.

    Returns
    -------
    str
    """
    arrays, functions, calls = [], [], []
    stream, streamed = program.stream, range(0)
    if stream is not None:
        streamed = range(stream.schedule.begin, stream.schedule.end)
    for i, layer in enumerate(program.layers):
        own = f"layer_{i}"
        calls.append(f"  {own}();")
        if program.fed and i == 0:
            continue  # the caller
        text = _function(layer, own, i, memory)
        if stream is not None and i in streamed:
            text = step_function(stream, i, own, memory)
        functions.append(_named(text, layer, own))
        arrays += [array(c, f"{own}_{c.name}") for c in layer.constants]
    doors = [_door(f"const int8_t* {name}_output(int32_t index)", program.outputs, memory)]
    if not program.fed:
        doors.insert(0, _door(f"int8_t* {name}_input(int32_t index)", program.inputs, memory))
    rings = []
    run = f"void {name}_run(void) {{\n" + "\n".join(calls) + "\n}"
    if stream is not None:
        schedule, choice = tables(stream, program.fed)
        arrays.append(array(schedule, schedule.name))
        state, choice = choice.split("\n\n")
        rings, functions = [state], [*functions, choice]
        run = run_text(stream, name, calls)
        if program.fed:
            run = feed_text(stream, name, calls, memory)
    body = "\n\n".join([*rings, *functions, run])
    arena = f"TERSOR_ALIGNED static int8_t arena[{name.upper()}_ARENA_BYTES];"
    parts = [
        head,
        f'#include "{name}.h"\n\n#include <string.h>',
        "/* Wide loads need tables and arena at multiples of 4. */\n"
        "#if defined(__GNUC__)\n#define TERSOR_ALIGNED __attribute__((aligned(4)))\n"
        "#else\n#define TERSOR_ALIGNED\n#endif",
        kernels(body),
        *arrays,
        arena,
        body,
        *doors,
    ]
    return "\n\n".join(parts) + "\n"


def _door(signature: str, ends: list[End], memory: Memory) -> str:
    offsets = ", ".join(str(memory.offsets[e.activation.buffer]) for e in ends)
    return (
        f"{signature} {{\n  static const int32_t offsets[{len(ends)}] = {{{offsets}}};\n"
        f"  return index >= 0 && index < {len(ends)} ? arena + offsets[index] : 0;\n}}"
    )


def _function(layer: Layer, own: str, index: int, memory: Memory) -> str:
    def at(buffer: int) -> str:
        offset = memory.scratch[index] if buffer < 0 else memory.offsets[buffer]
        return f"(arena + {offset})" if buffer < 0 else f"arena + {offset}"

    text = "\n".join("  " + line for line in layer.body(at, memory.backwards[index]))
    note = layer.name.replace("*/", "* /")
    return f"/* {note} */\nstatic void {own}(void) {{\n{text}\n}}"


def _named(text: str, layer: Layer, own: str) -> str:
    """Put the layer's name before those of its tables."""
    note, code = text.split("\n", 1)
    for constant in layer.constants:
        code = re.sub(rf"(?<![\w>.]){constant.name}\b(?!\()", f"{own}_{constant.name}", code)
    return f"{note}\n{code}"


def header(program: Program, memory: Memory, name: str, head: str) -> str:
    """Return the text of the .h file.

    Parameters
    ----------
    program : Program
    memory : Memory
    name : str
    head : str

    Returns
    -------
    str
    """
    big = name.upper()
    weights = sum(layer.weight_bytes for layer in program.layers)
    tables = sum(layer.flash_bytes for layer in program.layers) - weights
    lines = [
        head,
        f"#ifndef {big}_H\n#define {big}_H\n",
        "#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        "/* Memory for activations and scratch, and what lies in flash: weights, and tables of",
        "   biases and multipliers. Stack and code come on top. */",
        f"#define {big}_ARENA_BYTES {memory.total}",
        *_stream_lines(big, program.stream),
        f"#define {big}_WEIGHT_BYTES {weights}",
        f"#define {big}_TABLE_BYTES {tables}",
        f"#define {big}_MACS {sum(layer.macs for layer in program.layers)}\n",
        *_table(program, memory, program.stream),
        "",
        "/* value = scale * (code - zero point). SHAPE is as codes lie in memory, AXES are the",
        "   axes of the source network (without the batch) in that order. */",
    ]
    for kind, ends in (("INPUT", program.inputs), ("OUTPUT", program.outputs)):
        lines.append(f"#define {big}_{kind}S {len(ends)}")
        for i, end in enumerate(ends):
            lines += _end(f"{big}_{kind}_{i}", end)
    if program.fed and program.stream is not None:
        rows = program.stream.scheduler.rows[0]
        lines += [
            f"#define {big}_INPUT_0_ROWS {rows.rows}",
            f"#define {big}_INPUT_0_ROW_BYTES {rows.row_bytes}",
            "",
            "/* Where to write the codes of the next row of the input. feed takes it, computes",
            "   what it makes possible, and returns how many are missing: 0 when outputs can be",
            "   read, until the next row. */",
            f"int8_t* {name}_input_row(void);",
            f"int32_t {name}_feed(void);",
            f"const int8_t* {name}_output(int32_t index);\n",
        ]
    else:
        lines += [
            "",
            "/* Where to write the codes of an input before a run, and to read those of an output",
            "   behind it. Both lie in the arena: a run overwrites its inputs. Null where there is",
            "   none of that index. */",
            f"int8_t* {name}_input(int32_t index);",
            f"const int8_t* {name}_output(int32_t index);",
            f"void {name}_run(void);\n",
        ]
    lines += [
        "#ifdef __cplusplus\n}\n#endif\n",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _stream_lines(big: str, stream: Stream | None) -> list[str]:
    """Say what runs row by row, and what cannot."""
    if stream is None:
        return []
    return [
        f"#define {big}_RING_BYTES {stream.ring_bytes} /* which rows are held, beside the arena */",
        f"/* {stream.summary()} */",
    ]


def _table(program: Program, memory: Memory, stream: Stream | None) -> list[str]:
    """Return the per-layer table, a comment."""
    titles = ("layer", "operator", "MACs", "weight bytes", "output offset", "arena bytes in use")
    rows: list[tuple[str, ...]] = [titles]
    for layer, live in zip(program.layers, memory.live, strict=True):
        rows.append(
            (
                layer.name.replace("*/", "* /"), layer.op, f"{layer.macs:,}",
                f"{layer.weight_bytes:,}", f"{memory.offsets[layer.output]:,}", f"{live:,}",
            )
        )  # fmt: skip
    if stream is not None:
        rows = [
            (*row, text) for row, text in zip(rows, ["rows held", *stream.held_rows()], strict=True)
        ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        text.append("   " + "  ".join(cells))
    text[0] = "/* " + text[0][3:]
    text[-1] += " */"
    return text


def _end(prefix: str, end: End) -> list[str]:
    a = end.activation
    lines = [
        f"#define {prefix}_NAME {_quoted(end.float_name or a.name)}",
        f"#define {prefix}_BYTES {a.size}",
        f"#define {prefix}_SHAPE {{{', '.join(map(str, a.physical))}}}",
        f"#define {prefix}_AXES {{{', '.join(map(str, a.order))}}}",
        f"#define {prefix}_SCALE {_scale(a.qparams)}",
        f"#define {prefix}_ZERO_POINT {a.zero_point}",
        f"#define {prefix}_FLOAT {int(bool(end.float_name))}",
        *([f"#define {prefix}_TIES_AWAY 1"] if end.ties == "away" else []),
    ]
    if end.tail:
        lines.append(f"/* The source network goes on in float: {end.tail} */")
        lines.append(f"#define {prefix}_TAIL {_quoted(end.tail)}")
    return lines


def _scale(q: Any) -> str:
    return f"{np.float32(q.scale[0]):.9g}"


def _quoted(text: str) -> str:
    safe = re.sub(r'[\\"\n\r?]', "_", text)
    return f'"{safe}"'


def example(name: str, fed: bool = False) -> str:
    """Return the text of main.c: one inference on zeros.

    Parameters
    ----------
    name : str
    fed : bool
        Whether the input comes row by row.

    Returns
    -------
    str
    """
    big = name.upper()
    whole = f"""memset({name}_input(0), {big}_INPUT_0_ZERO_POINT, {big}_INPUT_0_BYTES);
  {name}_run();"""
    if fed:
        whole = f"""do {{
    memset({name}_input_row(), {big}_INPUT_0_ZERO_POINT, {big}_INPUT_0_ROW_BYTES);
  }} while ({name}_feed() > 0);"""
    return f"""/* One inference: fill the inputs, run, read the outputs. */
#include <stdio.h>
#include <string.h>

#include "{name}.h"

int main(void) {{
  int32_t i;
  {whole}
  for (i = 0; i < {big}_OUTPUT_0_BYTES; ++i) {{
    printf("%d%s", (int){name}_output(0)[i], i + 1 < {big}_OUTPUT_0_BYTES ? " " : "\\n");
  }}
  return 0;
}}
"""


Values = NDArray[Any]

__all__ = ["array", "example", "header", "identifier", "kernels", "source"]
