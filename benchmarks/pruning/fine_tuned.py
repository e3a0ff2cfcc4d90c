"""ResNet-20 on CIFAR-10 (JPEG), pruned while it is fine-tuned: accuracy, bytes and latency.

75 and 90 % of the weights of all convolutions together, single ones (for fp32) and blocks of 1x4
(for int8). The network learns from the dense one's logits. int8 artifacts are quantized after
training, or trained on with ``--qat-epochs``; zeros stay.

    python -m benchmarks.pruning.fine_tuned --output build/pruned                 # all four
    python -m benchmarks.pruning.fine_tuned --output build/pruned --arms 1x4@0.75 # one
    torchrun --nproc_per_node 2 -m benchmarks.pruning.fine_tuned --output build/pruned
    python -m benchmarks.pruning.fine_tuned --output build/pruned --measure       # the table

A run that has its result is passed over, one that was interrupted continues from its checkpoint.
Settings are to be chosen with ``--tune``, on 5,000 training images that the network does not see;
``--measure`` looks at the test images.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn

import tersor
from benchmarks.harness import machine
from benchmarks.pruning.resnet20 import (
    EXAMPLE,
    add_options,
    conv_sparsity,
    fine_tune,
    graph_of_module,
    images,
    is_main,
    save_float,
    save_int8,
    settings_of,
    steps_of,
    trained_resnet20,
    write_json,
    write_table,
)
from tersor.pruning import PolynomialSchedule
from tersor.torch import prepare_qat
from tersor.training import PruningSchedule, QuantizationSchedule

ARMS = ("unstructured@0.75", "1x4@0.75", "unstructured@0.9", "1x4@0.9")
SETTINGS = {
    "epochs": 5,
    "learning_rate": 0.05,
    "batch_size": 128,  # of a step, whatever the number of processes
    "weight_decay": 1e-4,
    "temperature": 4.0,
    "alpha": 0.1,
    "initial": 0.5,  # share of the final sparsity that the schedule begins with
    "ramp": 0.5,  # share of the steps in which sparsity grows
    "frequency": 50,
    "qat_epochs": 0,
    "qat_learning_rate": 0.01,
}
CRITERIA = ("magnitude", "lamp", "taylor", "movement")
KEPT = ["linear"]  # dense, so that sparsity is that of the convolutions
SAMPLES = 1024  # unlabeled, of the one-shot start


def one_shot(module: nn.Module, train: Any, structure: str, sparsity: float) -> None:
    """Prune without training, and give the result to the module, whose BatchNorms are apart."""
    chosen = np.random.default_rng(0).permutation(len(train[1]))[:SAMPLES]
    done = tersor.compress.prune(
        graph_of_module(module),
        train[0][chosen],
        sparsity,
        structure=structure,
        exclude=["*linear*"],
    )
    edges = {edge.origin or edge.name: edge for edge in done.graph.edges if edge.is_constant}
    modules = dict(module.named_modules())
    biases = {
        done.graph.edges[n.inputs[1]].origin: done.graph.edges[n.inputs[2]].constant
        for n in done.graph.nodes
        if n.op == "conv"
    }
    for name, conv in modules.items():
        if not isinstance(conv, nn.Conv2d):
            continue
        parent, _, own = name.rpartition(".")
        norm: Any = modules[".".join(filter(None, [parent, own.replace("conv", "bn")]))]
        folded = torch.tensor(np.array(edges[f"{name}.weight"].constant))
        bias = torch.tensor(np.array(biases[f"{name}.weight"]))
        with torch.no_grad():
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.copy_(folded / scale[:, None, None, None])
            norm.bias.copy_(bias + norm.running_mean * scale)


def run(arm: str, train: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Prune, fine-tune and write artifacts."""
    structure, _, text = arm.partition("@")
    sparsity = float(text)
    torch.manual_seed(options.seed)
    module = trained_resnet20()
    if options.one_shot:
        one_shot(module, train, structure, sparsity)
        schedule = None  # holds the zeros
    else:
        steps = steps_of(train, options.epochs, options.batch_size)
        schedule = PolynomialSchedule(
            sparsity,
            end=max(1, round(options.ramp * steps)),
            initial=options.initial * sparsity,
            frequency=options.frequency,
        )
    how = {"structure": structure, "scope": options.scope, "criterion": options.criterion}
    prune = PruningSchedule(schedule, exclude=KEPT, **({} if schedule is None else how))
    result: dict[str, Any] = {"arm": arm, "sparsity": sparsity, "structure": structure}
    result["pruning"] = fine_tune(
        module,
        train,
        options,
        options.output / arm,
        [prune],
        epochs=options.epochs,
        learning_rate=options.learning_rate,
    )
    result["conv_sparsity"] = conv_sparsity(graph_of_module(module))
    network = module
    if options.qat_epochs:
        network = prepare_qat(module, "int8", EXAMPLE)
        result["quantization"] = fine_tune(
            network,
            train,
            options,
            options.output / f"{arm}-qat",
            [QuantizationSchedule()],
            epochs=options.qat_epochs,
            learning_rate=options.qat_learning_rate,
        )
    if is_main():
        save_float(module, options.output / f"{arm}-fp32.tersor")
        if network is module:
            save_int8(module, train, options.output / f"{arm}-int8.tersor")
        else:
            model = tersor.compress(graph_of_module(network), recipe="keep", progress=False)
            model.save(options.output / f"{arm}-int8.tersor")
    return result


def table(rows: list[dict[str, Any]], statistic: str) -> str:
    """Markdown; factors are against our dense sessions of fp32 and int8, and ONNX Runtime fp32."""
    by_name = {row["name"]: row for row in rows}
    dense = by_name["dense-fp32"]
    lines = [
        "| network | zeros | top-1 % | points | bytes | x smaller | batch | ms | x dense fp32 "
        "| x dense int8 | x ORT fp32 | MACs sparse |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        for batch in (1, 64):
            time = row[f"latency_{batch}"][statistic]
            cells = [row["name"]]
            if "accuracy" in row:
                points = row["accuracy"] - dense["accuracy"]
                smaller = dense["bytes"] / row["bytes"]
                cells += [f"{row['sparsity']:.1%}", f"{row['accuracy']:.2f}", f"{points:+.2f}"]
                cells += [f"{row['bytes']:,}", f"{smaller:.2f}"]
            else:
                cells += [""] * 5
            cells += [str(batch), f"{1e3 * time:.3f}"]
            for peer in ("dense-fp32", "dense-int8", "onnxruntime fp32"):
                other = by_name.get(peer)
                cells.append(
                    "" if other is None else f"{other[f'latency_{batch}'][statistic] / time:.2f}"
                )
            share = row.get(f"sparse_macs_{batch}")
            cells.append("" if share is None else f"{share:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, **SETTINGS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="such as 1x4@0.75")
    parser.add_argument(
        "--one-shot",
        action="store_true",
        help="prune before training and hold the zeros, in place of a schedule",
    )
    parser.add_argument("--scope", choices=("global", "layer"), default="global")
    parser.add_argument("--criterion", choices=CRITERIA, default="magnitude")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or measure."""
    options = parse()
    torch.set_num_threads(options.threads)
    tersor.set_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.measure:
        names = [f"{arm}-{values}" for arm in options.arms for values in ("fp32", "int8")]
        write_table(names, options, table)
        return
    train, _ = images(options)
    for arm in options.arms:
        file = options.output / f"{arm}.json"
        if file.exists():
            continue
        result = run(arm, train, options)
        if is_main():
            write_json(file, {**result, "settings": settings_of(options), "machine": machine()})
            print(f"{arm}: {result['conv_sparsity']:.1%} zeros", flush=True)


if __name__ == "__main__":
    main()
