"""Cascades on CIFAR-10 (JPEG): a small network first, ResNet-20 where it is unsure.

The small networks learned from ResNet-20's logits: the MobileNetV3-style network of
``benchmarks.quantization.mobilenetv3_cifar10`` and ResNet-8 of
``benchmarks.training.distill_cifar10`` (seed 0; float16 weights beside this file). All have
seen all training images, so the threshold is chosen by a wish for work, on 5,000 training images
that are cropped and flipped anew; the blend of both networks' scores by accuracy on the same. The
test images are for the figure (the networks and the request of 2.0x were chosen after a look). ::

    python -m benchmarks.serve.cascade_cifar10 --output build/cascade
    python -m benchmarks.serve.cascade_cifar10 --measures    # which confidence, on training images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tersor
from benchmarks.harness import machine
from benchmarks.training.distill_cifar10 import PREPROCESS
from tersor.data import Augment
from tersor.serve import Cascade, CascadeFigures, Link, compare_placements
from tersor.serve.confidence import MEASURES
from tests import datasets

SAMPLES = 5000
SPEEDUP = 2.0  # 1.8 is wanted of unseen images, which are a little harder
BLENDS = (0.0, 0.1, 0.2, 0.3, 0.4)
SMALL = {
    "MobileNetV3-style": "benchmarks/quantization/mobilenetv3_cifar10.tersor",
    "ResNet-8, distilled": "benchmarks/serve/resnet8_cifar10.tersor",
}


def load(path: Path, recipe: str | None, calibration: Any) -> Any:
    """A network with its preprocessing, in float32 or compressed."""
    model = tersor.load(path)
    graph = getattr(model, "graph", model)
    graph.preprocess = PREPROCESS
    if recipe is None:
        return graph
    return tersor.compress(graph, recipe=recipe, calibration=calibration, progress=False)


def training_images() -> tuple[Any, Any]:
    """Training images, cropped and flipped."""
    train = datasets.cifar10("train")
    rows = np.random.default_rng(0).choice(len(train.y), SAMPLES, replace=False)
    return Augment(crop=4, flip=True)(train.x[rows], rows=rows), train.y[rows]


def choose(small: Any, large: Any, data: Any, measure: str = "margin") -> tuple[Cascade, float]:
    """The blend that is most accurate on training images at the wanted work."""
    found = []
    for blend in BLENDS:
        cascade = Cascade(small, large, blend=blend, measure=measure)
        figures = cascade.choose_threshold(data, speedup=SPEEDUP)
        found.append((figures.accuracy - figures.large_accuracy, -blend, cascade))
    gain, _, cascade = max(found, key=lambda item: item[:2])
    return cascade, gain


def show(rows: dict[str, tuple[Cascade, CascadeFigures]]) -> None:
    """Print figures on the test images."""
    table = Table(title=f"CIFAR-10 (JPEG) test images, speedup {SPEEDUP:g} asked for in training")
    columns = ("small network", "alone", "large alone", "cascade", "goes on", "M MACs", "fewer")
    for column in (*columns, "threshold", "blend"):
        table.add_column(column, justify="right")
    for name, (cascade, figures) in rows.items():
        shares = (figures.small_accuracy, figures.large_accuracy, figures.accuracy)
        table.add_row(
            name,
            *(f"{100 * share:.2f}" for share in (*shares, figures.escalation)),
            f"{figures.macs / 1e6:.2f}",
            f"{figures.speedup:.2f} x",
            f"{figures.threshold:.4f}",
            f"{cascade.blend:g}",
        )
    Console(width=120).print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/cascade"))
    parser.add_argument("--recipe", help="compress both networks first, such as int8")
    parser.add_argument("--measures", action="store_true", help="compare kinds of confidence")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    data = training_images()
    calibration = datasets.cifar10("train").x[:512]
    large = load(datasets.find("models/resnet20-cifar10.onnx"), options.recipe, calibration)
    nets = {name: load(Path(path), options.recipe, calibration) for name, path in SMALL.items()}
    if options.measures:
        for name, small in nets.items():
            for measure in MEASURES:
                cascade, gain = choose(small, large, data, measure)
                print(f"{name}, {measure}: {100 * gain:+.2f} points, blend {cascade.blend:g}")
        return
    test = datasets.cifar10("test")
    rows = {}
    for name, small in nets.items():
        cascade, _ = choose(small, large, data)
        rows[name] = (cascade, cascade.evaluate((test.x, test.y)))
    show(rows)
    link = Link("30 ms", jitter="10 ms", loss="1 %", bandwidth="1 MB/s")
    cascade, figures = next(iter(rows.values()))
    placements = compare_placements(cascade, figures, link=link, deadline="50 ms")
    Console(width=120).print(placements.table())
    result = {
        "machine": machine(),
        "recipe": options.recipe,
        "speedup": SPEEDUP,
        "cascades": {
            name: row[1].to_dict() | {"blend": row[0].blend} for name, row in rows.items()
        },
        "placements": placements.to_dict(),
    }
    (options.output / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
