"""Train the network of ``tersor demo`` and write ``digits.npz``; takes a minute.

Needs PyTorch and scikit-learn. The data are scikit-learn's digits: 1,797 gray images of 8 x 8
pixels, values 0 to 16 (the test part of the UCI set of handwritten digits, Alpaydin & Kaynak 1998).
Two thirds train, one third, stratified by class, is held out; nothing was tuned on the latter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tersor.data import Augment
from tersor.training import evaluate, fit

_SEED = 0
_EPOCHS = 60
_WIDTHS = (16, 32)
_CALIBRATION = 256
_PREPROCESS = {"scale": 1 / 16, "layout": "NCHW"}


class Residual(nn.Module):
    """Two 3x3 convolutions with BatchNorm around which the input is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, width, h, w)`` to the same shape."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + x)


class DigitsNetwork(nn.Module):
    """Stem, residual block, stride 2, residual block, mean, classifier."""

    def __init__(self) -> None:
        super().__init__()
        narrow, wide = _WIDTHS
        self.stem = nn.Conv2d(1, narrow, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(narrow)
        self.block1 = Residual(narrow)
        self.down = nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False)
        self.down_bn = nn.BatchNorm2d(wide)
        self.block2 = Residual(wide)
        self.classifier = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 1, 8, 8)`` to logits ``(n, 10)``."""
        x = torch.relu(self.stem_bn(self.stem(x)))
        x = self.block1(x)
        x = torch.relu(self.down_bn(self.down(x)))
        x = self.block2(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def split_digits() -> dict[str, NDArray[np.uint8]]:
    """Return uint8 ``x_train``, ``y_train``, ``x_test``, ``y_test``; images are (n, 8, 8, 1)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    y = labels.astype(np.uint8)
    random = np.random.default_rng(_SEED)
    order = random.permutation(len(x))
    # Every third image of each class is held out.
    held = np.zeros(len(x), bool)
    for label in range(10):
        held[order[y[order] == label][::3]] = True
    train = order[~held[order]]
    test = np.flatnonzero(held)
    return {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}


def train_network(data: dict[str, NDArray[np.uint8]]) -> DigitsNetwork:
    """Train on shifted images with SGD and a one-cycle schedule.

    Parameters
    ----------
    data : dict
        As from :func:`split_digits`.

    Returns
    -------
    DigitsNetwork
        In evaluation mode.
    """
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    network = DigitsNetwork()
    fit(
        network,
        (data["x_train"], data["y_train"]),
        epochs=_EPOCHS,
        batch_size=64,
        learning_rate=0.1,
        schedule="one_cycle",
        weight_decay=5e-4,
        label_smoothing=0.05,
        augment=Augment(crop=1),
        preprocess=_PREPROCESS,
        seed=_SEED,
        device="cpu",
    )
    return network


def main() -> None:
    """Train, say the accuracy, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    path = parser.parse_args().output
    data = split_digits()
    network = train_network(data)
    accuracy = evaluate(network, (data["x_test"], data["y_test"]), preprocess=_PREPROCESS)[
        "accuracy"
    ]
    count = len(data["y_test"])
    print(f"held-out accuracy {accuracy:.4f} ({round(accuracy * count)} of {count})")
    weights = {
        name: value.numpy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    np.savez_compressed(
        path,
        x_test=data["x_test"],
        y_test=data["y_test"],
        x_calibration=data["x_train"][:_CALIBRATION],
        y_calibration=data["y_train"][:_CALIBRATION],
        **weights,
    )
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
