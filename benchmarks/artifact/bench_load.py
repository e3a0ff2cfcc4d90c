"""Loading ResNet-20: checked .tersor files beside safetensors, which checks no values.

Needs TERSOR_DATA/models/resnet20-cifar10.onnx. All files lie in the page cache; a call opens,
reads, checks and decodes a file into arrays (``tensors``) or a graph. Sizes are bytes of the files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tersor
from benchmarks.harness import Case, main
from tersor import artifact

PROFILES = {"raw": None, "fast": "fast", "small": "small"}
MODEL = Path(os.environ.get("TERSOR_DATA", ".")) / "models" / "resnet20-cifar10.onnx"


def cases() -> Iterable[Case]:
    """float32 and int8, every profile, with and without checksums."""
    from safetensors.numpy import load_file, save_file

    network = tersor.load(MODEL)
    samples = np.random.default_rng(0).normal(size=(32, *network.inputs[0].shape[1:]))
    int8 = tersor.compress(network, recipe="int8", calibration=samples.astype(np.float32)).graph
    with tempfile.TemporaryDirectory() as folder:
        for dtype, graph in (("float32", network), ("int8", int8)):
            constants = {e.name: np.asarray(e.constant) for e in graph.edges if e.is_constant}
            plain = Path(folder) / f"{dtype}.safetensors"
            save_file({n: np.ascontiguousarray(v) for n, v in constants.items()}, plain)
            contenders: dict[str, Callable[[], Any]] = {"safetensors": partial(load_file, plain)}
            sizes: dict[str, Any] = {"dtype": dtype, "safetensors bytes": plain.stat().st_size}
            for name, profile in PROFILES.items():
                path = Path(folder) / f"{dtype}-{name}.tersor"
                artifact.save(path, graph, profile=profile)
                sizes[f"{name} bytes"] = path.stat().st_size
                contenders[f"tersor {name}"] = partial(artifact.load, path)
                if profile is None:
                    contenders["tersor raw, tensors"] = partial(
                        artifact.load_tensors, path, list(constants)
                    )
                    contenders["tersor raw, unchecked"] = partial(artifact.load, path, verify=False)
            yield Case("load", sizes, contenders)


if __name__ == "__main__":
    main(__doc__, cases)
