"""The network and the data of ``tersor demo``: handwritten digits, stored in the package.

A residual network for scikit-learn's digits (8 x 8 gray images, values 0 to 16): 3x3 convolutions
with BatchNorm, two residual blocks, 28,410 parameters, 0.68 million multiply-accumulates.
``benchmarks/training/digits.py`` trains it and writes ``digits.npz``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.preprocess import Preprocess
from ..graph.graph import Graph

CLASS_NAMES = tuple(str(digit) for digit in range(10))


def digits_preprocess() -> Preprocess:
    """Return what the network wants: pixels / 16, channels first.

    Returns
    -------
    Preprocess

    Examples
    --------
    >>> digits_preprocess()(np.full((1, 8, 8, 1), 16, np.uint8)).max()
    np.float32(1.0)
    """
    return Preprocess(scale=1 / 16, layout="NCHW")


def load_digits_data(split: str = "test") -> Dataset:
    """Return images of digits that the network was not trained on, or some for calibration.

    Parameters
    ----------
    split : str
        ``"test"`` (602 held-out images) or ``"calibration"`` (256 training images).

    Returns
    -------
    Dataset
        uint8, shape (8, 8, 1), values 0 to 16, with labels.

    Raises
    ------
    ValueError
        If the split is unknown.

    Examples
    --------
    >>> len(load_digits_data()), load_digits_data().shape
    (602, (8, 8, 1))
    """
    if split not in ("test", "calibration"):
        raise ValueError(f"load_digits_data: split must be test or calibration, got {split!r}")
    arrays = _arrays()
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    return Dataset.from_arrays(x, y, CLASS_NAMES, name=f"digits ({split})")


def load_digits_network(*, canonicalize: bool = True) -> Graph:
    """Build the trained network; needs nothing but the package itself.

    Parameters
    ----------
    canonicalize : bool
        Fold BatchNorm and fuse activations, as importers do; False keeps the layers as trained.

    Returns
    -------
    Graph
        Input ``image``: float32 (N, 1, 8, 8), as from :func:`digits_preprocess`. Output: logits
        (N, 10).

    Examples
    --------
    >>> graph = load_digits_network()
    >>> graph.inputs[0].shape, graph.macs
    ((None, 1, 8, 8), 673088)
    """
    builder = _Builder()
    x = builder.graph.add_input("image", "float32", [None, 1, 8, 8])
    x = builder.convolve(x, "stem", "stem_bn", relu=True)
    x = builder.residual(x, "block1")
    x = builder.convolve(x, "down", "down_bn", strides=2, relu=True)
    x = builder.residual(x, "block2")
    graph = builder.graph
    x = graph.add_node("reduce_mean", [x], {"axes": [2, 3], "keepdims": 0}, "pool")
    weights = [builder.weight("classifier.weight"), builder.weight("classifier.bias")]
    x = graph.add_node("dense", [x, *weights], {}, "classifier", "logits")
    graph.set_outputs([x])
    graph.description = "tersor.zoo digits: residual network for scikit-learn's handwritten digits"
    graph.preprocess = digits_preprocess().to_dict()
    if canonicalize:
        graph.canonicalize()
    graph.verify()
    return graph


class _Builder:
    """Adds layers to a graph by the names that their weights have in the file."""

    def __init__(self) -> None:
        self.graph = Graph()
        self._arrays = _arrays()

    def weight(self, name: str) -> int:
        return int(self.graph.add_constant(name, self._arrays[name], name))

    def convolve(
        self, x: int, conv: str, norm: str, *, strides: int = 1, relu: bool = False
    ) -> int:
        attributes = {"strides": [strides, strides], "pads": [1, 1, 1, 1]}
        x = self.graph.add_node("conv", [x, self.weight(f"{conv}.weight")], attributes, conv)
        parts = ("weight", "bias", "running_mean", "running_var")
        inputs = [x, *(self.weight(f"{norm}.{part}") for part in parts)]
        x = self.graph.add_node("batch_norm", inputs, {"epsilon": 1e-5}, norm)
        return int(self.graph.add_node("relu", [x], {}, f"{conv}_relu") if relu else x)

    def residual(self, x: int, name: str) -> int:
        y = self.convolve(x, f"{name}.conv1", f"{name}.bn1", relu=True)
        y = self.convolve(y, f"{name}.conv2", f"{name}.bn2")
        y = self.graph.add_node("add", [y, x], {}, f"{name}.add")
        return int(self.graph.add_node("relu", [y], {}, f"{name}.relu"))


@cache
def _arrays() -> dict[str, NDArray[np.generic]]:
    content = (resources.files(__package__) / "digits.npz").read_bytes()
    with np.load(BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


__all__ = ["digits_preprocess", "load_digits_data", "load_digits_network"]
