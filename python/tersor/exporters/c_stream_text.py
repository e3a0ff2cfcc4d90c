"""The text of generated C that runs row by row: ``cpp/tersor/codegen/stream_c99.h``."""

from __future__ import annotations

import numpy as np

from .c_plan import Constant, Memory
from .c_rows import Place
from .c_stream import Stream


def step_function(stream: Stream, index: int, own: str, memory: Memory) -> str:
    """Return the function of one step of a streamed layer.

    Parameters
    ----------
    stream : Stream
    index : int
        Of the layer.
    own : str
        Name of the function.
    memory : Memory

    Returns
    -------
    str
    """
    made, scheduler = stream.schedule, stream.scheduler
    layer, rows = scheduler.layers[index], scheduler.rows[index]
    rings = {scheduler.layers[i].output: i - made.begin for i in range(made.begin, made.end)}

    def at(buffer: int) -> str:
        if buffer == -2:
            return f"(arena + {memory.state.get(index, 0)})"
        offset = memory.scratch[index] if buffer < 0 else memory.offsets[buffer]
        return f"(arena + {offset})" if buffer < 0 else f"arena + {offset}"

    def first(buffer: int) -> str:
        held = made.capacity.get(buffer)
        if held is None or held == scheduler.rows[rings[buffer] + made.begin].rows:
            return "0"
        return f"rings[{rings[buffer]}].first"

    ring = f"rings[{index - made.begin}]"
    head = []
    if rows.gathers:
        head = [f"const int32_t r = {ring}.next++;"]
    elif layer.rows is not None:
        held = made.capacity[layer.output]
        place = f"{at(layer.output)}, {rows.row_bytes}, {held}"
        head = [
            f"const int32_t r = {ring}.next;",
            f"int8_t* const y = tersor_push(&{ring}, {place});",
        ]
    lines = [*head, *rows.body(Place(at, first))]
    what = "" if layer.rows is None else ", a row of its input" if rows.gathers else ", a row"
    note = layer.name.replace("*/", "* /") + what
    text = "\n".join("  " + line for line in lines)
    return f"/* {note} */\nstatic void {own}(void) {{\n{text}\n}}"


def tables(stream: Stream, fed: bool) -> tuple[Constant, str]:
    """Return the order of the steps, and the functions that it chooses from.

    Parameters
    ----------
    stream : Stream
    fed : bool
        Whether its first layer is the caller.

    Returns
    -------
    tuple of Constant and str
    """
    made = stream.schedule
    numbers = np.array(made.order) - made.begin
    kind = np.uint8 if len(made.order) == 0 or numbers.max() < 256 else np.uint16
    names = ", ".join(
        "0" if fed and i == made.begin else f"layer_{i}" for i in range(made.begin, made.end)
    )
    text = (
        f"static tersor_ring rings[{made.end - made.begin}];\n\n"
        f"static void (*const steps[{made.end - made.begin}])(void) = {{{names}}};"
    )
    return Constant("schedule", numbers.astype(kind)), text


def run_text(stream: Stream, name: str, calls: list[str]) -> str:
    """Return the function that runs all layers.

    Parameters
    ----------
    stream : Stream
    name : str
    calls : list of str
        A call of each layer.

    Returns
    -------
    str
    """
    made = stream.schedule
    lines = [
        "  int32_t i;",
        *calls[: made.begin],
        "  memset(rings, 0, sizeof rings);",
        f"  for (i = 0; i < {len(made.order)}; ++i) steps[schedule[i]]();",
        *calls[made.end :],
    ]
    return f"void {name}_run(void) {{\n" + "\n".join(lines) + "\n}"


def feed_text(stream: Stream, name: str, calls: list[str], memory: Memory) -> str:
    """Return the functions that take the input row by row.

    Parameters
    ----------
    stream : Stream
    name : str
    calls : list of str
    memory : Memory

    Returns
    -------
    str
    """
    made = stream.schedule
    layer, rows = stream.scheduler.layers[0], stream.scheduler.rows[0]
    room = f"arena + {memory.offsets[layer.output]}, {rows.row_bytes}"
    count = len(made.order)
    after = "\n".join(calls[made.end :])
    return f"""static int32_t done;
static int8_t* next_row;

int8_t* {name}_input_row(void) {{
  if (next_row) return next_row;
  if (done == 0) memset(rings, 0, sizeof rings);
  next_row = tersor_push(&rings[0], {room}, {made.capacity[layer.output]});
  return next_row;
}}

int32_t {name}_feed(void) {{
  const int32_t missing = {name}_input_row() ? {rows.rows} - rings[0].next : 0;
  next_row = 0;
  for (++done; done < {count} && schedule[done] != 0; ++done) steps[schedule[done]]();
  if (missing > 0) return missing;
{after}
  done = 0;
  return 0;
}}"""


__all__ = ["feed_text", "run_text", "step_function", "tables"]
