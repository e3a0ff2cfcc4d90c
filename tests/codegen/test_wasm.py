"""Generated C as WebAssembly: the host's bits under wasmtime."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tersor.exporters import HostModel
from tests.codegen import models

_LIBRARY = Path(__file__).resolve().parent / "wasm"
FLAGS = ("-std=c99", "-O2")


@pytest.mark.parametrize("kernels", ["portable", "dsp"])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_webassembly_gives_the_host_s_bits(name, kernels, tmp_path):
    wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
    for tool in ("clang", "wasm-ld"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install clang lld, or make test-mcu")
    folder = models.folder(name, kernels)
    exports = [f"-Wl,--export=network_{f}" for f in ("input", "output", "run")]
    subprocess.run(
        ["clang", "--target=wasm32", "-O2", "-std=c99", "-Wall", "-Wextra", "-Werror",
         "-fno-builtin", "-nostdlib", f"-I{_LIBRARY}", "-Wl,--no-entry",
         *exports, str(folder / "network.c"), str(_LIBRARY / "string.c"),
         "-o", str(tmp_path / "network.wasm")],
        check=True,
    )  # fmt: skip
    store = wasmtime.Store()
    module = wasmtime.Module.from_file(store.engine, str(tmp_path / "network.wasm"))
    exported = wasmtime.Instance(store, module, []).exports(store)
    memory = exported["memory"]
    host = HostModel(folder, flags=FLAGS)
    codes = host._inputs[0].codes(models.inputs(name, 3, seed=5))
    (want,) = host.run(codes)
    for x, y in zip(host._inputs[0].to_memory(codes), want, strict=True):
        memory.write(store, x.tobytes(), exported["network_input"](store, 0))
        exported["network_run"](store)
        start = exported["network_output"](store, 0)
        got = np.frombuffer(memory.read(store, start, start + y.size), np.int8)
        axes = [host._outputs[0].axes.index(a) for a in sorted(host._outputs[0].axes)]
        np.testing.assert_array_equal(got.reshape(host._outputs[0].shape).transpose(axes), y)
