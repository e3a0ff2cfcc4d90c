# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "attention_loss_at",
    "dkd_loss_at",
    "empty",
    "jsd_loss_at",
    "kd_loss",
    "kd_loss_at",
    "mean_squared_difference_at",
    "relational_loss_at",
    "scale_gradient_at",
]

def attention_loss_at(
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    samples: typing.SupportsInt | typing.SupportsIndex,
    student_channels: typing.SupportsInt | typing.SupportsIndex,
    teacher_channels: typing.SupportsInt | typing.SupportsIndex,
    positions: typing.SupportsInt | typing.SupportsIndex,
    channels_last: bool,
    types: typing.SupportsInt | typing.SupportsIndex,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def dkd_loss_at(
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    rows: typing.SupportsInt | typing.SupportsIndex,
    classes: typing.SupportsInt | typing.SupportsIndex,
    types: typing.SupportsInt | typing.SupportsIndex,
    labels: typing.SupportsInt | typing.SupportsIndex,
    temperature: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    beta: typing.SupportsFloat | typing.SupportsIndex,
    ignore_index: typing.SupportsInt | typing.SupportsIndex,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def empty(
    dtype: numpy.dtype[typing.Any],
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def jsd_loss_at(
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    rows: typing.SupportsInt | typing.SupportsIndex,
    classes: typing.SupportsInt | typing.SupportsIndex,
    types: typing.SupportsInt | typing.SupportsIndex,
    labels: typing.SupportsInt | typing.SupportsIndex,
    temperature: typing.SupportsFloat | typing.SupportsIndex,
    beta: typing.SupportsFloat | typing.SupportsIndex,
    ignore_index: typing.SupportsInt | typing.SupportsIndex,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def kd_loss(
    student: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    teacher: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    labels: numpy.typing.NDArray[numpy.int64] | None,
    teacher_indices: numpy.typing.NDArray[numpy.int64] | None,
    class_weights: numpy.typing.NDArray[numpy.float32] | None,
    temperature: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    label_smoothing: typing.SupportsFloat | typing.SupportsIndex,
    ignore_index: typing.SupportsInt | typing.SupportsIndex,
    standardize: bool,
    out: typing.Any,
    inplace: bool,
) -> tuple[float, numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]]: ...
def kd_loss_at(
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    rows: typing.SupportsInt | typing.SupportsIndex,
    classes: typing.SupportsInt | typing.SupportsIndex,
    types: typing.SupportsInt | typing.SupportsIndex,
    indices: typing.SupportsInt | typing.SupportsIndex,
    columns: typing.SupportsInt | typing.SupportsIndex,
    labels: typing.SupportsInt | typing.SupportsIndex,
    class_weights: typing.SupportsInt | typing.SupportsIndex,
    temperature: typing.SupportsFloat | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    label_smoothing: typing.SupportsFloat | typing.SupportsIndex,
    ignore_index: typing.SupportsInt | typing.SupportsIndex,
    standardize: bool,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def mean_squared_difference_at(
    operation: str,
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
    types: typing.SupportsInt | typing.SupportsIndex,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def relational_loss_at(
    student: typing.SupportsInt | typing.SupportsIndex,
    teacher: typing.SupportsInt | typing.SupportsIndex,
    rows: typing.SupportsInt | typing.SupportsIndex,
    student_dimensions: typing.SupportsInt | typing.SupportsIndex,
    teacher_dimensions: typing.SupportsInt | typing.SupportsIndex,
    distance: typing.SupportsFloat | typing.SupportsIndex,
    angle: typing.SupportsFloat | typing.SupportsIndex,
    gradient: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def scale_gradient_at(
    gradient: typing.SupportsInt | typing.SupportsIndex,
    bfloat16: bool,
    n: typing.SupportsInt | typing.SupportsIndex,
    factor: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
