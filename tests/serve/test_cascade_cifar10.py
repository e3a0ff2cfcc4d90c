"""A cascade on CIFAR-10 (JPEG): at least 1.8x fewer multiply-accumulates at no loss of accuracy."""

from pathlib import Path

import numpy as np
import pytest

import tersor
from tersor.data import Augment
from tersor.serve import Cascade
from tests import datasets

SMALL = Path(__file__).parents[2] / "benchmarks" / "quantization" / "mobilenetv3_cifar10.tersor"
CIFAR = {
    "scale": "1/255",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "layout": "NCHW",
}


@pytest.mark.slow
def test_less_work_and_no_loss():
    large = tersor.load(datasets.find("models/resnet20-cifar10.onnx"))
    large.preprocess = tersor.Preprocess(**CIFAR).to_dict()
    cascade = Cascade(tersor.load(SMALL), large, threads=2)
    # Both were trained on all training images: augmented ones are harder, and no labels are asked.
    train = datasets.cifar10("train").x
    rows = np.random.default_rng(1).choice(len(train), 2000, replace=False)
    seen = Augment(crop=4, flip=True)(train[rows], rows=rows)
    cascade.choose_threshold(seen, speedup=1.9)
    test = datasets.cifar10("test")
    figures = cascade.evaluate((test.x, test.y))
    assert figures.speedup >= 1.8
    assert figures.accuracy >= figures.large_accuracy >= 0.876
