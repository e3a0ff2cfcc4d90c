"""Networks that the package builds itself: architectures in PyTorch, and the demo's digits.

PyTorch is imported when an architecture is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .digits import digits_preprocess, load_digits_data, load_digits_network
from .registry import ARCHITECTURES, build_function, create, names
from .task import Task, load_task

if TYPE_CHECKING:
    from .densenet import densenet121, densenet169, densenet201
    from .dscnn import ds_cnn
    from .efficientnet import efficientnet_b0, efficientnet_b1, efficientnet_b3
    from .mobilenetv1 import mobilenet_v1
    from .mobilenetv2 import mobilenet_v2
    from .mobilenetv3 import mobilenet_v3_large, mobilenet_v3_small
    from .resnet import resnet50
    from .resnet_cifar import resnet8, resnet20, resnet56
    from .smallcnn import small_cnn, small_cnn_separable
    from .squeezenet import squeezenet1_0, squeezenet1_1
    from .stagedcnn import staged_cnn
    from .vgg import vgg16


def __getattr__(name: str) -> Any:
    if name in ARCHITECTURES:
        value = globals()[name] = build_function(name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Task",
    "create",
    "densenet121",
    "densenet169",
    "densenet201",
    "digits_preprocess",
    "ds_cnn",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b3",
    "load_digits_data",
    "load_digits_network",
    "load_task",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "names",
    "resnet20",
    "resnet50",
    "resnet56",
    "resnet8",
    "small_cnn",
    "small_cnn_separable",
    "squeezenet1_0",
    "squeezenet1_1",
    "staged_cnn",
    "vgg16",
]
