"""ResNet-20 on CIFAR-10 (JPEG) with fewer channels, to 0.6 of its latency, and fine-tuned.

Channels go by what their absence costs on unlabeled training images, until the session needs 0.57
of the time for one image, measured here (other measurements find up to 0.6); the smaller network
learns from the whole one's logits.

    python -m benchmarks.pruning.channels_by_latency --output build/channels
    torchrun --nproc_per_node 2 -m benchmarks.pruning.channels_by_latency --output build/channels
    python -m benchmarks.pruning.channels_by_latency --output build/channels --measure

What is there already is kept: the smaller network, its checkpoint, the result. Settings are to be
chosen with ``--tune``, on 5,000 training images that the network does not see; ``--measure`` looks
at the test images and prints parameters, MACs, accuracy and latency.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import tersor
from benchmarks.harness import machine
from benchmarks.pruning.resnet20 import (
    EXAMPLE,
    PREPROCESS,
    add_options,
    fine_tune,
    images,
    is_main,
    save_float,
    save_int8,
    settings_of,
    trained_resnet20,
    write_json,
    write_table,
)
from tersor.torch import prune_channels

SETTINGS = {
    "epochs": 3,
    "learning_rate": 0.05,
    "batch_size": 128,  # of a step, whatever the number of processes
    "weight_decay": 1e-4,
    "temperature": 4.0,
    "alpha": 0.1,
    "latency": 0.57,  # so that another measurement finds 0.6 too
    "multiple": 8,  # vector kernels like whole vectors
    "samples": 1024,
}
WAIT_S = 5.0


def shrink(train: Any, options: argparse.Namespace) -> None:
    """Remove channels and write the weights that are left."""
    tersor.set_threads(options.threads)
    rows = np.random.default_rng(options.seed).permutation(len(train[1]))[: options.samples]
    prepared = tersor.Preprocess(**PREPROCESS)(train[0][rows])
    module = trained_resnet20()
    small = prune_channels(
        module,
        EXAMPLE,
        latency=options.latency,
        criterion=options.criterion,
        data=prepared if options.criterion == "activation" else None,
        multiple=options.multiple,
    )
    part = options.output / "small.part"
    save_file({name: value.contiguous() for name, value in small.state_dict().items()}, part)
    part.replace(options.output / "small.safetensors")


def small_resnet20(path: Path) -> nn.Module:
    """ResNet-20 with layers as wide as the weights in a file."""
    state = load_file(path)
    module = copy.deepcopy(trained_resnet20())
    for name, layer in list(module.named_modules()):
        weight = state.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(layer, nn.Conv2d):
            layer.out_channels, layer.in_channels = weight.shape[:2]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = len(weight)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = weight.shape
        for key in [*layer._parameters, *layer._buffers]:
            if f"{name}.{key}" not in state:
                continue
            value = state[f"{name}.{key}"]
            setattr(layer, key, nn.Parameter(value) if key in layer._parameters else value)
    module.load_state_dict(state)
    return module


def train_small(options: argparse.Namespace) -> dict[str, Any]:
    """Shrink where that is not done, fine-tune, write artifacts."""
    train, _ = images(options)
    file = options.output / "small.safetensors"
    if is_main() and not file.exists():
        shrink(train, options)
    while not file.exists():  # one process measures, all train the same network
        time.sleep(WAIT_S)
    torch.manual_seed(options.seed)
    module = small_resnet20(file)
    if is_main():
        save_float(copy.deepcopy(module), options.output / "removed-fp32.tersor")
    result = fine_tune(
        module,
        train,
        options,
        options.output / "checkpoint",
        epochs=options.epochs,
        learning_rate=options.learning_rate,
    )
    if is_main():
        save_float(module, options.output / "small-fp32.tersor")
        save_int8(module, train, options.output / "small-int8.tersor")
    widths = {
        name: layer.out_channels
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
    }
    return {"training": result, "channels": widths}


def table(rows: list[dict[str, Any]], statistic: str) -> str:
    """Markdown; shares of latency are of our dense fp32 session in the same run."""
    dense = next(row for row in rows if row["name"] == "dense-fp32")
    lines = [
        "| network | parameters | MACs | top-1 % | bytes | ms, batch 1 | of dense | ms, batch 64 "
        "| of dense |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row["name"]]
        if "accuracy" in row:
            cells += [f"{row['parameters']:,}", f"{row['macs']:,}", f"{row['accuracy']:.2f}"]
            cells += [f"{row['bytes']:,}"]
        else:
            cells += [""] * 4
        for batch in (1, 64):
            now, before = (r[f"latency_{batch}"][statistic] for r in (row, dense))
            cells += [f"{1e3 * now:.3f}", f"{now / before:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, **SETTINGS)
    parser.add_argument(
        "--criterion", choices=("activation", "bn_gamma", "l1", "l2"), default="activation"
    )
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or measure."""
    options = parse()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "result.json"
    if options.measure:
        write_table(("removed-fp32", "small-fp32", "small-int8"), options, table)
    elif not file.exists():
        result = train_small(options)
        if is_main():
            write_json(file, {**result, "settings": settings_of(options), "machine": machine()})
            print(f"{sum(result['channels'].values())} channels are left", flush=True)


if __name__ == "__main__":
    main()
