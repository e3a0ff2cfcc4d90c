"""Deep Compression of ResNet-20 on CIFAR-10 (JPEG): prune, cluster or rate, fine-tune, code.

The network is compressed from unlabeled samples first; then the values of its codes (a table for
each layer) and its biases are trained on the training images, with the float network's logits as
targets. Codes stay, and with them zeros, the number of values and the bytes of the codes.

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
from torch import nn

import tersor
from benchmarks.compress.codebooks import normalised, storage
from benchmarks.harness import machine
from tersor.compress import CompressedModel, Recipe
from tersor.data import Augment
from tersor.quantization import QParams
from tersor.torch import to_torch
from tersor.training import distill
from tests import datasets

HELD_OUT = 5000


class CodedNetwork(nn.Module):
    """A compressed network whose weights are entries of trainable tables.

    Parameters
    ----------
    model : CompressedModel
        Its weights are codes of a codebook, or of a grid of one step.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.network = to_torch(model)
        self.tables, self.codes, self.names = nn.ParameterList(), [], []
        self.zeros, self.scales = [], []
        by_origin = {origin: name for name, origin in self.network.origins.items()}
        for edge in model.graph.edges:
            q = edge.qparams if edge.is_constant else None
            if q is None:
                continue
            codes = np.asarray(edge.constant).astype(np.int64)
            if q.codebook is None:  # codes around 0 of one step
                low = codes.min()
                table = (np.arange(low, codes.max() + 1) * q.scale[0]).astype(np.float32)
                codes, scale = codes - low, np.ones(1, np.float32)
            else:
                table, scale = q.codebook[0], q.scale
            self.names.append((edge.name, by_origin[edge.origin or edge.name]))
            self.codes.append(torch.from_numpy(codes))
            self.scales.append(torch.from_numpy(scale.reshape(-1, *[1] * (codes.ndim - 1)).copy()))
            self.zeros.append(torch.from_numpy((table != 0).astype(np.float32)))
            self.tables.append(nn.Parameter(torch.from_numpy(table.copy())))
        trained = {name for _, name in self.names}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in trained)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        weights = {
            name: (table * kept)[codes] * scale
            for (_, name), table, kept, codes, scale in zip(
                self.names, self.tables, self.zeros, self.codes, self.scales, strict=True
            )
        }
        logits: torch.Tensor = torch.func.functional_call(self.network, weights, (x,))
        return logits

    def write(self, model: Any) -> CompressedModel:
        """Return the compressed network with the trained tables and biases."""
        graph = tersor.Graph(model.graph.clone())
        parameters = dict(self.network.named_parameters())
        by_edge = {edge: i for i, (edge, _) in enumerate(self.names)}
        names = {origin: name for name, origin in self.network.origins.items()}
        for node in graph.nodes:
            if len(node.inputs) < 2 or graph.edges[node.inputs[1]].name not in by_edge:
                continue
            i = by_edge[graph.edges[node.inputs[1]].name]
            table = (self.tables[i].detach() * self.zeros[i]).numpy().astype(np.float16)
            used, codes = np.unique(self.codes[i].numpy(), return_inverse=True)
            order = np.argsort(table[used], kind="stable")
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order))
            scale = self.scales[i].numpy().ravel()
            q = QParams(
                scale=scale.tolist(),
                zero_point=[0] * len(scale),
                axis=0 if len(scale) > 1 else None,
                codebook=table[used][order].astype(np.float32),
            )
            shape = self.codes[i].shape
            graph.set_weight_codes(node.name, rank[codes].reshape(shape).astype(np.uint8), q)
            if len(node.inputs) > 2 and node.inputs[2] >= 0:
                edge = graph.edges[node.inputs[2]]
                bias = parameters[names[edge.origin or edge.name]]
                graph.set_constant(node.inputs[2], bias.detach().numpy().copy())
        return CompressedModel(graph, model.recipe, model.lineage, model.notes)


def top1(model: Any, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Percent."""
    session = tersor.Session(model, 0)
    right = 0
    for start in range(0, len(y), 250):
        logits = session(normalised(x[start : start + 250]))
        right += int((logits.argmax(1) == y[start : start + 250]).sum())
    return 100 * right / len(y)


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
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, help="training images; all by default")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    graph = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    train = datasets.cifar10("train")
    order = np.random.default_rng(0).permutation(len(train.y))
    held, seen = order[-HELD_OUT:], order[:-HELD_OUT] if options.tune else order
    model = compressed(graph, options, normalised(train.x[order[: options.samples]]))
    network = CodedNetwork(model)
    if options.epochs:
        seen = seen[: options.images]
        _train(network, graph, train.x[seen], train.y[seen], options)
    tuned = network.write(model)
    tuned.save(options.output / "model.tersor")
    images = datasets.Images(train.x[held], train.y[held])
    images = images if options.tune else datasets.cifar10("test")
    result = {
        "machine": machine(),
        "recipe": model.recipe.to_dict(),
        "epochs": options.epochs,
        "top1_float": top1(graph, *images),
        "top1_before": top1(model, *images),
        "top1": top1(tuned, *images),
        **storage(tuned),
    }
    (options.output / "result.json").write_text(json.dumps(result, indent=2))
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


def _train(network: nn.Module, graph: Any, x: Any, y: Any, options: argparse.Namespace) -> None:
    distill(
        to_torch(graph),
        network,
        (x, y),
        alpha=0.1,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        optimizer=lambda groups: torch.optim.Adam(
            [p for group in groups for p in group["params"]], options.learning_rate
        ),
        augment=Augment(crop=4, flip=True),
        preprocess={
            "scale": 1 / 255,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "layout": "NCHW",
        },
        progress=False,
    )


if __name__ == "__main__":
    main()
