"""Distillation losses as keras.losses.Loss.

On the torch backend (float32, CPU) they run the kernels; elsewhere the same formula runs in
``keras.ops``. Native half: ``cpp/tersor/distillation``.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from keras import ops

from .. import distillation

_REGISTER = keras.saving.register_keras_serializable(package="tersor")


class _Loss(keras.losses.Loss):  # type: ignore[misc]
    """A scalar per batch; `options` are those of `native`, a function of tersor.distillation."""

    native: Any

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.options = options
        self.check_options()

    def check_options(self) -> None:
        """Raise the native function's error for an option out of range."""
        self.run(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32), None)

    def run(self, student: Any, teacher: Any, labels: Any) -> tuple[float, Any]:
        """Loss and gradient of arrays, by the kernels."""
        loss, gradient = self.native(student, teacher, **self.options)
        return loss, gradient

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if sample_weight is not None:
            raise ValueError(
                f"{self.name}: sample_weight must be None, got one; leave rows out by ignore_index"
            )
        return super().__call__(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        teacher, labels = self.split(y_true, y_pred)
        if keras.backend.backend() == "torch":
            from . import torch_backend

            if torch_backend.can_run(y_pred, teacher):
                t, y = torch_backend.as_numpy(teacher), torch_backend.as_numpy(labels)
                return torch_backend.run(y_pred, lambda z: self.run(z, t, y))
        return self.formula(*self.without_ignored(y_pred, teacher, labels), labels)

    def without_ignored(self, student: Any, teacher: Any, labels: Any) -> tuple[Any, Any]:
        """Both outputs, finite where a row does not count; in keras.ops."""
        return student, teacher

    def split(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Teacher's outputs and labels (or None) that `y_true` holds."""
        return y_true, None

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        """Loss of a batch in keras.ops."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


class _LabelledLoss(_Loss):
    """``y_true`` is the teacher's logits, with the label as one more column in front."""

    needs_labels = False

    def check_options(self) -> None:
        logits = np.zeros((1, 2), np.float32)
        self.run(logits, logits, np.zeros(1, np.int64))

    def run(self, student: Any, teacher: Any, labels: Any) -> tuple[float, Any]:
        classes = student.shape[-1]
        if labels is not None:
            labels = labels.reshape(-1)
        loss, gradient = self.native(
            student.reshape(-1, classes), teacher.reshape(-1, classes), labels, **self.options
        )
        return loss, gradient.reshape(student.shape)

    def split(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        columns, classes = y_true.shape[-1], y_pred.shape[-1]
        if columns == classes + 1:
            column = y_true[..., 0]
            if keras.backend.backend() == "torch":
                from . import torch_backend

                torch_backend.check_whole(self.name, column)
            whole = ops.equal(column, ops.floor(column))
            return y_true[..., 1:], ops.cast(ops.where(whole, column, _NO_CLASS), "int64")
        if columns != classes or self.needs_labels:
            expected = f"{classes + 1}" if self.needs_labels else f"{classes} or {classes + 1}"
            raise ValueError(
                f"{self.name}: y_true must have {expected} columns (label and teacher logits), "
                f"got {columns}"
            )
        return y_true, None

    def without_ignored(self, student: Any, teacher: Any, labels: Any) -> tuple[Any, Any]:
        if labels is None:
            return student, teacher
        # Before any arithmetic: 0 times the gradient of a NaN would still be a NaN.
        counts = ops.expand_dims(ops.not_equal(labels, self.options["ignore_index"]), -1)
        return ops.where(counts, student, 0.0), ops.where(counts, teacher, 0.0)

    def mean(self, rows: Any, labels: Any, classes: int) -> Any:
        """Mean over the rows that count; NaN if one of their labels is no class."""
        if labels is None:
            return ops.mean(rows)
        counts = ops.not_equal(labels, self.options["ignore_index"])
        # A graph cannot raise.
        is_class = ops.logical_and(labels >= 0, labels < classes)
        wrong = ops.logical_and(counts, ops.logical_not(is_class))
        rows = rows * ops.cast(ops.where(wrong, float("nan"), 1.0), rows.dtype)
        total = ops.sum(ops.where(counts, rows, 0.0))
        return total / ops.maximum(ops.sum(ops.cast(counts, rows.dtype)), 1.0)


_LOG_OF_NOTHING = -1e4  # its exponential is 0 in every dtype, which can hold it
_NO_CLASS = -(2.0**31)  # for labels with a fraction, where they cannot be refused


def _at_label(labels: Any, classes: int) -> Any:
    """Which class is the label's; none for labels that are no class."""
    return ops.equal(ops.expand_dims(labels, -1), ops.arange(classes, dtype="int32"))


def _kl(log_q: Any, log_p: Any) -> Any:
    """Sum of q log(q / p), where 0 log(0 / p) is 0, also in gradients."""
    q = ops.exp(log_q)
    ratio = ops.where(q > 0, log_q - ops.where(q > 0, log_p, 0.0), 0.0)
    return ops.sum(q * ratio, axis=-1)


def _standardized(x: Any) -> Any:
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    return centred / (ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True)) + 1e-7)


@_REGISTER
class KDLoss(_LabelledLoss):
    """Combined distillation loss: ``alpha * CE + (1 - alpha) * T**2 * KL(teacher || student)``.

    ``y_true`` holds the teacher's logits, shape (rows, classes), or the label and the teacher's
    logits, shape (rows, 1 + classes); without labels the loss is ``T**2 * KL``, whatever `alpha`.

    Parameters
    ----------
    temperature : float, default 4.0
        Finite and > 0.
    alpha : float, default 0.5
        Share of the cross-entropy, in [0, 1].
    label_smoothing : float, default 0.0
        In [0, 1).
    ignore_index : int, default -100
        Label of rows that do not count.
    standardize : bool, default False
        Let the KL term see ``(x - mean) / std`` of each row of logits.
    name : str, default "kd_loss"

    See Also
    --------
    tersor.distillation.kd_loss : the same on NumPy arrays, with formula and references.
    """

    native: Any = staticmethod(distillation.kd_loss)

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 0.5,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        standardize: bool = False,
        name: str = "kd_loss",
    ) -> None:
        super().__init__(
            name,
            temperature=temperature,
            alpha=alpha,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            standardize=standardize,
        )

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        options = self.options
        temperature, alpha = options["temperature"], options.get("alpha", 0.0)
        z, t = student, teacher
        if options["standardize"]:
            z, t = _standardized(z), _standardized(t)
        log_p = ops.log_softmax(z / temperature, axis=-1)
        log_q = ops.log_softmax(t / temperature, axis=-1)
        classes = student.shape[-1]
        soft = temperature**2 * self.mean(_kl(log_q, log_p), labels, classes)
        if labels is None or alpha == 0:
            return soft
        smoothing = options["label_smoothing"]
        log_plain = ops.log_softmax(student, axis=-1)
        here = _at_label(labels, classes)
        hard = -(1 - smoothing) * ops.sum(ops.where(here, log_plain, 0.0), axis=-1)
        if smoothing > 0:
            hard = hard - smoothing * ops.mean(log_plain, axis=-1)
        hard = self.mean(hard, labels, classes)
        return alpha * hard + (1 - alpha) * soft if alpha < 1 else hard


@_REGISTER
class KLLoss(KDLoss):
    """Kullback-Leibler loss alone: ``T**2 * KL(teacher || student)``; `y_true` as in `KDLoss`.

    Parameters
    ----------
    temperature : float, default 4.0
        Finite and > 0.
    ignore_index : int, default -100
        Label of rows that do not count.
    standardize : bool, default False
        Compare ``(x - mean) / std`` of each row of logits.
    name : str, default "kl_loss"

    Examples
    --------
    Keras's own Distiller with the kernels of tersor::

        keras.distillation.Distiller(
            teacher=teacher,
            student=student,
            distillation_losses=keras.distillation.FeatureDistillation(loss=KLLoss(4.0)),
        )
    """

    native: Any = staticmethod(functools.partial(distillation.kd_loss, alpha=0.0))

    def __init__(
        self,
        temperature: float = 4.0,
        ignore_index: int = -100,
        standardize: bool = False,
        name: str = "kl_loss",
    ) -> None:
        _Loss.__init__(
            self,
            name,
            temperature=temperature,
            ignore_index=ignore_index,
            standardize=standardize,
        )


@_REGISTER
class DKDLoss(_LabelledLoss):
    """Decoupled distillation; ``y_true`` is the label, then the teacher's logits.

    Parameters
    ----------
    temperature : float, default 4.0
        Finite and > 0.
    alpha, beta : float, default 1.0 and 8.0
        Weights of the label's mass and of the distribution over the other classes, >= 0.
    ignore_index : int, default -100
        Label of rows that do not count.
    name : str, default "dkd_loss"

    See Also
    --------
    tersor.distillation.dkd_loss : the same on NumPy arrays, with formula and reference.
    """

    native: Any = staticmethod(distillation.dkd_loss)

    needs_labels = True

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        ignore_index: int = -100,
        name: str = "dkd_loss",
    ) -> None:
        super().__init__(
            name, temperature=temperature, alpha=alpha, beta=beta, ignore_index=ignore_index
        )

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        temperature = self.options["temperature"]
        classes = student.shape[-1]
        here = _at_label(labels, classes)

        def split(x: Any) -> tuple[Any, Any]:
            log_p = ops.log_softmax(x / temperature, axis=-1)
            label = ops.sum(ops.where(here, log_p, 0.0), axis=-1, keepdims=True)
            others = ops.where(here, _LOG_OF_NOTHING, log_p)
            rest = ops.logsumexp(others, axis=-1, keepdims=True)
            masses = ops.concatenate([label, rest], axis=-1)
            return masses, ops.where(here, _LOG_OF_NOTHING, others - rest)

        (p, log_p), (q, log_q) = split(student), split(teacher)
        rows = self.options["alpha"] * _kl(q, p) + self.options["beta"] * _kl(log_q, log_p)
        return temperature**2 * self.mean(rows, labels, classes)


@_REGISTER
class JSDLoss(_LabelledLoss):
    """Generalised Jensen-Shannon divergence; `y_true` as in `KDLoss`, labels only leave out rows.

    Parameters
    ----------
    beta : float, default 0.5
        In [0, 1]: 0 is ``KL(teacher || student)``, 1 is ``KL(student || teacher)``.
    temperature : float, default 1.0
        Finite and > 0; the loss is multiplied by its square.
    ignore_index : int, default -100
        Label of rows that do not count.
    name : str, default "jsd_loss"

    See Also
    --------
    tersor.distillation.jsd_loss : the same on NumPy arrays, with formula and reference.
    """

    native: Any = staticmethod(distillation.jsd_loss)

    def __init__(
        self,
        beta: float = 0.5,
        temperature: float = 1.0,
        ignore_index: int = -100,
        name: str = "jsd_loss",
    ) -> None:
        super().__init__(name, beta=beta, temperature=temperature, ignore_index=ignore_index)

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        beta, temperature = self.options["beta"], self.options["temperature"]
        log_p = ops.log_softmax(student / temperature, axis=-1)
        log_q = ops.log_softmax(teacher / temperature, axis=-1)
        if beta in (0, 1):
            rows = _kl(log_q, log_p) if beta == 0 else _kl(log_p, log_q)
        else:
            # Of the logarithms: both probabilities may vanish.
            log_m = ops.logaddexp(
                ops.maximum(log_q, _LOG_OF_NOTHING) + math.log(beta),
                ops.maximum(log_p, _LOG_OF_NOTHING) + math.log1p(-beta),
            )
            rows = beta * _kl(log_q, log_m) + (1 - beta) * _kl(log_p, log_m)
        return temperature**2 * self.mean(rows, labels, student.shape[-1])


@_REGISTER
class FeatureLoss(_Loss):
    """Mean squared difference of features of one shape.

    Parameters
    ----------
    name : str, default "feature_loss"

    See Also
    --------
    tersor.distillation.feature_loss : the same on NumPy arrays, with formula and reference.
    """

    native: Any = staticmethod(distillation.feature_loss)

    def __init__(self, name: str = "feature_loss") -> None:
        super().__init__(name)

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        return ops.mean(ops.square(student - teacher))


@_REGISTER
class MSELogitsLoss(FeatureLoss):
    """Mean squared difference of logits.

    Parameters
    ----------
    name : str, default "mse_logits_loss"

    See Also
    --------
    tersor.distillation.mse_logits_loss : the same on NumPy arrays, with reference.
    """

    native: Any = staticmethod(distillation.mse_logits_loss)

    def __init__(self, name: str = "mse_logits_loss") -> None:
        super().__init__(name)


@_REGISTER
class AttentionLoss(_Loss):
    """Attention transfer: compare where two layers are active, whatever their channels.

    Parameters
    ----------
    channels_last : bool, default True
        Features have shape (samples, ..., channels), Keras's default.
    name : str, default "attention_loss"

    See Also
    --------
    tersor.distillation.attention_loss : the same on NumPy arrays, with formula and reference.
    """

    native: Any = staticmethod(distillation.attention_loss)

    def __init__(self, channels_last: bool = True, name: str = "attention_loss") -> None:
        super().__init__(name, channels_last=channels_last)

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        axis = -1 if self.options["channels_last"] else 1

        def attention_map(x: Any) -> Any:
            a = ops.sum(ops.square(x), axis=axis)
            a = ops.reshape(a, (ops.shape(a)[0], -1))
            squares = ops.sum(ops.square(a), axis=1, keepdims=True)
            return a / ops.sqrt(ops.maximum(squares, 1e-24))

        return ops.mean(ops.square(attention_map(student) - attention_map(teacher)))


@_REGISTER
class RelationalLoss(_Loss):
    """Relational distillation: distances of pairs and angles of triples of embeddings.

    Parameters
    ----------
    distance : float, default 1.0
        Weight of the distances, >= 0.
    angle : float, default 2.0
        Weight of the angles, >= 0; work grows with the cube of the batch.
    name : str, default "relational_loss"

    See Also
    --------
    tersor.distillation.relational_loss : the same on NumPy arrays, with formula and reference.
    """

    native: Any = staticmethod(distillation.relational_loss)

    def check_options(self) -> None:
        self.run(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), None)

    def __init__(
        self, distance: float = 1.0, angle: float = 2.0, name: str = "relational_loss"
    ) -> None:
        super().__init__(name, distance=distance, angle=angle)

    def formula(self, student: Any, teacher: Any, labels: Any) -> Any:
        def huber(d: Any) -> Any:
            size = ops.abs(d)
            least = ops.minimum(size, 1.0)
            return ops.mean(least * (size - 0.5 * least))

        def relations(x: Any) -> tuple[Any, Any]:
            sides = ops.expand_dims(x, 0) - ops.expand_dims(x, 1)
            squares = ops.sum(ops.square(sides), axis=2)
            positive = ops.cast(squares > 0, x.dtype)
            d = ops.sqrt(ops.where(squares > 0, squares, 1.0)) * positive
            units = sides / ops.expand_dims(d + (1 - positive), 2)
            angles = ops.matmul(units, ops.transpose(units, (0, 2, 1)))
            mean = ops.sum(d) / ops.maximum(ops.sum(positive), 1.0)
            return d / ops.maximum(mean, 1e-30), angles

        (d, angles), (teacher_d, teacher_angles) = relations(student), relations(teacher)
        loss = self.options["distance"] * huber(d - teacher_d)
        return loss + self.options["angle"] * huber(angles - teacher_angles)


__all__ = [
    "AttentionLoss",
    "DKDLoss",
    "FeatureLoss",
    "JSDLoss",
    "KDLoss",
    "KLLoss",
    "MSELogitsLoss",
    "RelationalLoss",
]
