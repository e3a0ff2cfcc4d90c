"""What the notebooks work on: digits from the package, or CIFAR-10 from a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..compress.load import load as load_network
from ..data.dataset import Dataset
from ..data.load import load as load_data
from ..data.preprocess import Preprocess
from .digits import load_digits_data, load_digits_network

TASKS = ("digits", "cifar10")
_CIFAR = Preprocess(
    scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="NCHW"
)
_CALIBRATION = 512


@dataclass(frozen=True)
class Task:
    """A trained network with its data.

    Attributes
    ----------
    name : str
    train : Dataset
        Labeled training images; of digits the 256 that are in the package.
    calibration : Dataset
        Some of them, for ranges and roundings.
    test : Dataset
        Held-out images, for the final figures only.
    preprocess : Preprocess
        What the network wants.
    folder : Path or None
        Where networks lie; None for digits.
    """

    name: str
    train: Dataset
    calibration: Dataset
    test: Dataset
    preprocess: Preprocess
    folder: Path | None = None

    def network(self, name: str = "resnet20") -> Any:
        """Return a trained network with its preprocessing.

        Parameters
        ----------
        name : str
            For CIFAR-10: "resnet20" or "mobilenetv2". Digits have one network, whatever the name.

        Returns
        -------
        Graph

        Raises
        ------
        FileNotFoundError
            If the folder does not have it.
        """
        if self.folder is None:
            return load_digits_network()
        graph = load_network(self.folder / "models" / f"{name}-cifar10.onnx")
        graph.preprocess = self.preprocess.to_dict()
        return graph


def load_task(
    name: str | None = None, *, images: int | None = None, enlarge: bool | int = False
) -> Task:
    """Load a network's data for an example.

    Parameters
    ----------
    name : {"digits", "cifar10"}, optional
        By default what the environment variable ``TERSOR_TASK`` says, else "digits". "cifar10" is
        read from the folder that ``TERSOR_DATA`` names: ``data/cifar10-jpeg.tar.xz`` and
        ``models/resnet20-cifar10.onnx``, ``models/mobilenetv2-cifar10.onnx``.
    images : int, optional
        Training images at most, drawn at random, for shorter runs.
    enlarge : bool or int
        Make digits larger and colored, for the zoo's architectures: their side, a multiple of 8, or
        True for that of CIFAR-10's images, 32. Their own network does not fit these.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If the name is unknown, or the side no multiple of 8.
    FileNotFoundError
        If the folder or a file in it is missing.

    Examples
    --------
    >>> task = load_task("digits")
    >>> len(task.test), task.test.shape
    (602, (8, 8, 1))
    >>> load_task("digits", enlarge=True).train.shape
    (32, 32, 3)
    """
    side = 32 if enlarge is True else int(enlarge)
    if side < 0 or side % 8:
        raise ValueError(f"load_task: enlarge must be a multiple of 8, got {enlarge}")
    name = os.environ.get("TERSOR_TASK", "digits") if name is None else name
    if name not in TASKS:
        raise ValueError(f"load_task: name must be one of {', '.join(TASKS)}, got {name!r}")
    if name == "digits":
        train, test = load_digits_data("calibration"), load_digits_data("test")
        prepare = Preprocess(scale=1 / 16, layout="NCHW")
        if side:
            train, test = _enlarged(train, side // 8), _enlarged(test, side // 8)
        return Task(name, _some(train, images), train, test, prepare)
    folder = Path(os.environ.get("TERSOR_DATA", "."))
    archive = folder / "data" / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        raise FileNotFoundError(f"load_task: TERSOR_DATA must have {archive}, which is missing")
    train, test = (load_data(archive, split=split) for split in ("train", "test"))
    train.name, test.name = "cifar10 (train)", "cifar10 (test)"
    train = _some(train, images)
    return Task(name, train, _some(train, _CALIBRATION), test, _CIFAR, folder)


def _enlarged(data: Dataset, times: int) -> Dataset:
    x = np.asarray(data.x).repeat(times, axis=1).repeat(times, axis=2).repeat(3, axis=3)
    return Dataset.from_arrays(x, data.y, data.class_names, name=data.name)


def _some(data: Dataset, count: int | None) -> Dataset:
    return data if count is None else data.sample(count)


__all__ = ["TASKS", "Task", "load_task"]
