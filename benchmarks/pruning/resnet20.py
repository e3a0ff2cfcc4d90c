"""What the runs that prune and fine-tune ResNet-20 on CIFAR-10 (JPEG) share."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.harness import machine, measure
from benchmarks.quantization.mobilenetv3_cifar10 import accuracy
from benchmarks.quantization.qat_cifar10 import WEIGHTS, trained_resnet20
from benchmarks.training.distill_cifar10 import AUGMENT, PREPROCESS, split_train, teacher_session
from tersor.data import Augment
from tersor.report.model import zeros_of
from tersor.torch import KDLoss
from tersor.training import Callback, distill
from tests import datasets

EXAMPLE = torch.zeros(2, 3, 32, 32)
CALIBRATION = 512  # training images


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the options of both scripts; `defaults` are the settings of the fine-tuning."""
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--measure", action="store_true", help="print the table, train nothing")
    parser.add_argument("--tune", action="store_true", help="hold out training images instead")
    parser.add_argument("--limit", type=int, help="images, for a trial")
    parser.add_argument("--threads", type=int, default=1, help="of a process, and of sessions")
    parser.add_argument("--repeat", type=int, default=21, help="samples of a latency")
    parser.add_argument(
        "--statistic",
        choices=("median_s", "min_s"),
        default="median_s",
        help="of latencies in the table; minima where other programs run beside",
    )
    parser.add_argument("--teacher", choices=("int8", "fp32"), default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    for name, value in defaults.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="X"
        )


def is_main() -> bool:
    """Whether this process writes."""
    return os.environ.get("RANK", "0") == "0"


def images(options: argparse.Namespace) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Images to train with, and those that results are reported for."""
    train, held_out = split_train(options.tune)
    if options.limit:
        train, held_out = (_some(pair, options.limit) for pair in (train, held_out))
    return train, held_out


def _some(pair: tuple[Any, Any], count: int) -> tuple[Any, Any]:
    rows = np.random.default_rng(0).permutation(len(pair[1]))[:count]
    return pair[0][rows], pair[1][rows]


def fine_tune(
    module: torch.nn.Module,
    train: tuple[Any, Any],
    options: argparse.Namespace,
    checkpoint: Path,
    callbacks: Iterable[Callback] = (),
    *,
    epochs: int,
    learning_rate: float,
) -> dict[str, Any]:
    """Distil the dense network into `module`, in place; what is worth keeping of the run."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    start = time.perf_counter()
    history = distill(
        teacher_session(train[0][:CALIBRATION], options.teacher),
        module,
        train,
        loss=KDLoss(temperature=options.temperature, alpha=options.alpha),
        epochs=epochs,
        batch_size=options.batch_size // processes,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup=0.1 * epochs,
        weight_decay=options.weight_decay,
        augment=Augment(**AUGMENT),
        preprocess=PREPROCESS,
        callbacks=list(callbacks),
        seed=options.seed,
        checkpoint_dir=checkpoint,
        checkpoint_steps=100,
        resume=True,
        progress=not options.quiet,
        device="cpu",
    )
    return {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "seconds": time.perf_counter() - start,
        "processes": processes,
        "curve": history.rows,
    }


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The command line as plain data."""
    return {name: str(v) if isinstance(v, Path) else v for name, v in vars(options).items()}


def steps_of(train: tuple[Any, Any], epochs: int, batch_size: int) -> int:
    """Optimizer steps of a run; what does not fill a last step is left out."""
    return epochs * max(1, len(train[1]) // batch_size)


def graph_of_module(module: torch.nn.Module) -> Any:
    """The network as a graph that takes raw images."""
    graph = tersor.from_torch(module.eval(), EXAMPLE)
    graph.preprocess = PREPROCESS
    return graph


def save_float(module: torch.nn.Module, path: Path) -> None:
    """Write the artifact with fp32 values."""
    tersor.compress(graph_of_module(module), recipe="fp32", progress=False).save(path)


def save_int8(module: torch.nn.Module, train: tuple[Any, Any], path: Path) -> None:
    """Write the artifact with int8 values, quantized after training."""
    chosen = np.random.default_rng(0).permutation(len(train[1]))[:CALIBRATION]
    model = tersor.compress(
        graph_of_module(module), recipe="int8", calibration=train[0][chosen], progress=False
    )
    model.save(path)


def conv_sparsity(graph: Any) -> float:
    """Share of the weights of convolutions that are 0."""
    edges = graph.edges
    counts = [zeros_of(edges[n.inputs[1]]) for n in graph.nodes if n.op == "conv"]
    return sum(zeros for zeros, _ in counts) / sum(size for _, size in counts)


def measure_rows(models: dict[str, Path | Any], options: argparse.Namespace) -> list[Any]:
    """Size, accuracy, MACs, sparse share and latency of networks; ONNX Runtime in the same run.

    `models` are artifacts by path, or graphs.
    """
    _, (x, y) = images(options)
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[int, dict[str, Callable[[], Any]]] = {1: {}, 64: {}}
    for name, source in models.items():
        model = tersor.load(source) if isinstance(source, Path) else source
        graph = getattr(model, "graph", model)
        session = tersor.Session(model, options.threads)
        rows[name] = {
            "name": name,
            "bytes": source.stat().st_size
            if isinstance(source, Path)
            else len(tersor.artifact.encode(graph)),
            "accuracy": accuracy(session, x, y),
            "sparsity": conv_sparsity(graph),
            "parameters": graph.parameters,
            "macs": graph.macs,
        }
        for batch in calls:
            inputs = batch_of(batch)
            rows[name][f"sparse_macs_{batch}"] = sparse_share(session, inputs)
            calls[batch][name] = lambda session=session, inputs=inputs: session(inputs)
    for batch, contenders in calls.items():
        peer = onnxruntime_call(batch, options.threads)
        if peer is not None:
            contenders["onnxruntime fp32"] = peer
            rows.setdefault("onnxruntime fp32", {"name": "onnxruntime fp32"})
        for name, times in measure(contenders, repeat=options.repeat).items():
            rows[name][f"latency_{batch}"] = times
    return list(rows.values())


def write_table(
    names: Iterable[str],
    options: argparse.Namespace,
    table: Callable[[list[dict[str, Any]], str], str],
) -> None:
    """Measure the dense network and the artifacts of `names` that are there; print and write."""
    train, _ = images(options)
    dense = trained_resnet20()
    save_float(dense, options.output / "dense-fp32.tersor")
    save_int8(dense, train, options.output / "dense-int8.tersor")
    files = [options.output / f"{name}.tersor" for name in ("dense-fp32", "dense-int8", *names)]
    models: dict[str, Path | Any] = {file.stem: file for file in files if file.exists()}
    rows = measure_rows(models, options)
    document = {"settings": settings_of(options), "rows": rows, "machine": machine()}
    write_json(options.output / "measured.json", document)
    text = table(rows, options.statistic)
    (options.output / "table.md").write_text(text + "\n")
    print(text)


def batch_of(count: int) -> Any:
    """Numbers in place of prepared images."""
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), dtype=np.float32)


def sparse_share(session: Any, inputs: Any) -> float:
    """Share of the multiply-accumulates that sparse kernels stand for."""
    layers = list(session.profile(inputs, repeats=1))
    sparse = sum(layer.macs for layer in layers if "sparse" in layer.kernel)
    return float(sparse / max(1, sum(layer.macs for layer in layers)))


def onnxruntime_call(batch: int, threads: int) -> Callable[[], Any] | None:
    """A run of the dense network in ONNX Runtime; None where that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    choices = onnxruntime.SessionOptions()
    choices.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(datasets.find(WEIGHTS)), choices, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: batch_of(batch)}
    return lambda: session.run(None, feed)


def write_json(path: Path, document: Any) -> None:
    """Write a file at once, so that an interrupted run leaves none."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)


__all__ = [
    "EXAMPLE",
    "PREPROCESS",
    "add_options",
    "fine_tune",
    "graph_of_module",
    "images",
    "is_main",
    "save_float",
    "save_int8",
    "settings_of",
    "steps_of",
    "trained_resnet20",
    "write_json",
    "write_table",
]
