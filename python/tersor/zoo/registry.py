"""The architectures by name; PyTorch is imported when one is built."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Name of the function -> module that defines it.
ARCHITECTURES: dict[str, str] = {
    "densenet121": "densenet",
    "densenet169": "densenet",
    "densenet201": "densenet",
    "ds_cnn": "dscnn",
    "efficientnet_b0": "efficientnet",
    "efficientnet_b1": "efficientnet",
    "efficientnet_b3": "efficientnet",
    "mobilenet_v1": "mobilenetv1",
    "mobilenet_v2": "mobilenetv2",
    "mobilenet_v3_large": "mobilenetv3",
    "mobilenet_v3_small": "mobilenetv3",
    "resnet8": "resnet_cifar",
    "resnet20": "resnet_cifar",
    "resnet50": "resnet",
    "resnet56": "resnet_cifar",
    "small_cnn": "smallcnn",
    "small_cnn_separable": "smallcnn",
    "squeezenet1_0": "squeezenet",
    "squeezenet1_1": "squeezenet",
    "staged_cnn": "stagedcnn",
    "vgg16": "vgg",
}


def names() -> tuple[str, ...]:
    """Return the names of the architectures.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> [name for name in names() if name.startswith("resnet")]
    ['resnet8', 'resnet20', 'resnet50', 'resnet56']
    """
    return tuple(ARCHITECTURES)


def create(name: str, **options: Any) -> nn.Module:
    """Build an architecture with random weights.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    **options
        Of the function of that name; all have ``num_classes``, ``input_size`` and ``width``.

    Returns
    -------
    torch.nn.Module
        In training mode. Its ``input_shape`` is the shape of one sample.

    Raises
    ------
    ValueError
        If the name is unknown or an option is out of range.
    TypeError
        If the architecture has no such option.
    ImportError
        If PyTorch is missing.

    Examples
    --------
    >>> network = create("mobilenet_v2", num_classes=10, input_size=32, width=0.5)
    >>> network.input_shape
    (3, 32, 32)
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, n=3)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ValueError(
            f"create: name must be one of {', '.join(ARCHITECTURES)}, got {name!r}{hint}"
        )
    return build_function(name)(**options)  # type: ignore[no-any-return]


def build_function(name: str) -> Any:
    """Return the function of an architecture.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    function

    Raises
    ------
    ImportError
        If PyTorch is missing.
    """
    try:
        module = importlib.import_module(f".{ARCHITECTURES[name]}", __package__)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise ImportError(f"{name} needs PyTorch: pip install tersor[torch]") from error
        raise
    return getattr(module, name)


__all__ = ["ARCHITECTURES", "build_function", "create", "names"]
