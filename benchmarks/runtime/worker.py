"""One contender in a process of its own, so that memory is its own: driven by bench_networks.

Reads lines from stdin: a number runs that many calls and answers with their times in nanoseconds,
"end" answers with peak memory and quality. Every answer is one line of JSON.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def memory_kb(field: str) -> int:
    """VmRSS or VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0


def quality(predict, data) -> dict[str, float]:
    """Top-1 in percent, or the signal-to-noise ratio to the float network's outputs in dB."""
    x = data["x"]
    parts = [np.asarray(predict(x[i : i + 50])) for i in range(0, len(x), 50)]
    outputs = np.concatenate(parts)
    if "labels" in data:
        return {"top1": 100 * float((outputs.argmax(1) == data["labels"]).mean())}
    reference = data["reference"].astype(np.float64)
    noise = np.square(outputs - reference).sum()
    return {"snr_db": float(10 * np.log10(np.square(reference).sum() / max(noise, 1e-30)))}


def main() -> None:
    """Serve one contender until stdin ends."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("peer")
    parser.add_argument("precision")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def answer(value) -> None:
        print(json.dumps(value), file=answers, flush=True)

    peer = importlib.import_module(f"benchmarks.runtime.peers.{args.peer}")
    data = dict(np.load(args.folder / "data.npz"))
    x = np.ascontiguousarray(np.resize(data["x"], (args.batch, *data["x"].shape[1:])))
    gc.collect()
    before = memory_kb("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    except OSError:
        before = 0
    loaded = peer.load(args.folder, args.precision, x, args.threads)
    if loaded is None:
        return answer({"skip": "no file for it"})
    call, predict = loaded
    for _ in range(10):
        call()
    answer({"ready": True})
    gc.disable()
    for line in sys.stdin:
        if line.strip() == "end":
            peak = (memory_kb("VmHWM") - before) * 1024
            size = peer.model_file(args.folder, args.precision).stat().st_size
            return answer({"peak_bytes": peak, "file_bytes": size, **quality(predict, data)})
        times = []
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
        answer({"times_ns": times})
    return None


if __name__ == "__main__":
    main()
