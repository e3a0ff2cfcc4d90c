"""Deep Compression of ResNet-20 on CIFAR-10 (JPEG): prune, cluster or rate, fine-tune, code.

The network is compressed from unlabeled samples first; then its codes, what they stand for and its
biases are trained on the training images, with the float network's logits as targets
(``tersor.torch.CodedNetwork``). The bits that the codes take stay what they were, and with
``--fixed-codes`` the codes themselves. Zeros of a pruned network stay.

    python -m benchmarks.compress.fine_tuned -o build/deep --recipe deep-compression --epochs 2
    python -m benchmarks.compress.fine_tuned -o build/deep --bits 1.4 --epochs 2

Needs PyTorch, and the network and images of tests/datasets.py (environment variable TERSOR_DATA).
``--tune`` measures on 5,000 training images that are left out of training; without it the 10,000
test images are read once, at the end.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.compress.codebooks import normalised, storage, top1
from benchmarks.harness import machine
from tersor.compress import Recipe
from tersor.data import Augment
from tersor.torch import CodedNetwork, to_torch
from tersor.training import distill
from tests import datasets

HELD_OUT = 5000
# Of the learning rate of weights: that of biases and of what codes stand for.
_OTHERS = 0.05


def compressed(graph: Any, options: argparse.Namespace, calibration: Any) -> Any:
    """The network before it is trained."""
    recipe = Recipe.parse(options.recipe)
    if options.bits is not None:
        recipe = Recipe("rate-distortion", bits_per_weight=options.bits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # training is to make it good
        return tersor.compress(graph, recipe=recipe, calibration=calibration)


def main() -> None:
    """Compress, train, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--recipe", default="deep-compression")
    parser.add_argument("--bits", type=float, help="rate-distortion at so many bits a weight")
    parser.add_argument("--start", type=Path, help="a file that this script wrote, to train on")
    parser.add_argument(
        "--more-bits", type=float, default=1.0, help="codes may take so many times their bits"
    )
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, help="training images; all by default")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--fixed-codes", action="store_true")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    graph = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    train = datasets.cifar10("train")
    order = np.random.default_rng(0).permutation(len(train.y))
    held, seen = order[-HELD_OUT:], order[:-HELD_OUT] if options.tune else order
    if options.start is not None:
        model = tersor.load(options.start)
    else:
        model = compressed(graph, options, normalised(train.x[order[: options.samples]]))
    pruned = "pruning" in model.recipe.to_dict()
    parent = None if options.fixed_codes else graph
    network = CodedNetwork(model, parent, keep_zeros=pruned)
    network.bits *= options.more_bits
    if options.epochs:
        seen = seen[: options.images]
        _train(network, graph, train.x[seen], train.y[seen], options)
    tuned = network.write()
    tuned.save(options.output / "model.tersor", profile="small")
    images = datasets.Images(train.x[held], train.y[held])
    images = images if options.tune else datasets.cifar10("test")
    result = {
        "machine": machine(),
        "recipe": model.recipe.to_dict(),
        "start": None if options.start is None else str(options.start),
        "more_bits": options.more_bits,
        "epochs": options.epochs,
        "top1_float": top1(graph, images),
        "top1_before": top1(model, images),
        "top1": top1(tuned, images),
        **storage(tuned),
        "file": (options.output / "model.tersor").stat().st_size,
    }
    (options.output / "result.json").write_text(json.dumps(result, indent=2))
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


def _train(network: CodedNetwork, graph: Any, x: Any, y: Any, options: argparse.Namespace) -> None:
    def optimizer(groups: Any) -> torch.optim.Optimizer:
        weights, others = groups  # of two and more dimensions; biases and what codes stand for
        made = torch.optim.Adam(
            [weights, others | {"lr": _OTHERS * options.learning_rate}], options.learning_rate
        )
        network.attach(made)
        return made

    distill(
        to_torch(graph),
        network,
        (x, y),
        alpha=0.1,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        optimizer=optimizer,
        augment=Augment(crop=4, flip=True),
        preprocess={
            "scale": 1 / 255,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "layout": "NCHW",
        },
        progress=options.progress,
    )


if __name__ == "__main__":
    main()
