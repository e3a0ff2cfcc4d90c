"""What the loss modules share: the way to the kernels, eagerly and in captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .autograd import NATIVE_DTYPES, empty_like, native_loss

# student, teacher, labels, numbers, student address, gradient address (or 0) -> loss
Kernel = Callable[
    [torch.Tensor, torch.Tensor, "torch.Tensor | None", Sequence[float], int, int], float
]
_KERNELS: dict[str, Kernel] = {}


class Loss(torch.nn.Module):
    """Base of the losses of two tensors: `name` chooses the kernel, `numbers` are its options."""

    name: str
    numbers: tuple[float, ...] = ()
    dtypes: tuple[torch.dtype, ...] = NATIVE_DTYPES

    def __init_subclass__(cls, *, kernel: Kernel, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _KERNELS[cls.name] = kernel

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Formula in PyTorch operations, for devices and dtypes without a kernel."""
        raise NotImplementedError

    def run(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Differentiable loss of tensors whose shapes were checked."""
        teacher = teacher.detach()
        native = (
            student.dtype in self.dtypes
            and teacher.dtype in self.dtypes
            and student.device.type == "cpu"
            and teacher.device.type == "cpu"
        )
        if not native:
            wide = student.float() if student.element_size() < 4 else student
            return self.in_torch(wide, teacher.to(wide.dtype), labels)
        if labels is not None:
            labels = labels.long().contiguous()
        if torch.compiler.is_compiling():
            loss: torch.Tensor = _loss_operator(
                student, teacher, labels, self.name, list(self.numbers)
            )[0]
            return loss
        x, y = student.contiguous(), teacher.contiguous()
        kernel, numbers = _KERNELS[self.name], self.numbers
        return native_loss(x, kernel, (x, y, labels, numbers, x.data_ptr()))


def check_pair(
    operation: str, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
) -> None:
    """Logits of one shape, and a label for each row."""
    if student.dim() < 2 or student.shape != teacher.shape:
        raise ValueError(
            f"{operation}: student and teacher must have one shape (..., classes), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if labels is not None and labels.shape != student.shape[:-1]:
        raise ValueError(
            f"{operation}: labels must have shape {tuple(student.shape[:-1])}, "
            f"got {tuple(labels.shape)}"
        )


def types_of(student: torch.Tensor, teacher: torch.Tensor) -> int:
    """Bit 0: the student is bfloat16; bit 1: the teacher is."""
    return (student.dtype == torch.bfloat16) + 2 * (teacher.dtype == torch.bfloat16)


def rows_of(x: torch.Tensor) -> tuple[int, int]:
    """Rows and classes of logits (..., classes)."""
    classes = x.shape[-1]
    return x.numel() // max(classes, 1), classes


def counting_mean(
    values: torch.Tensor, labels: torch.Tensor | None, ignore_index: int
) -> torch.Tensor:
    """Mean over the rows whose label is not `ignore_index`; 0 if there is none."""
    if labels is None:
        return values.mean()
    counts = labels.flatten() != ignore_index
    return torch.where(counts, values, 0).sum() / counts.sum().clamp(min=1)


@torch.library.custom_op("tersor::distillation_loss", mutates_args=(), device_types="cpu")
def _loss_operator(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    name: str,
    numbers: Sequence[float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient, for graphs of torch.compile and torch.export."""
    x, y = student.contiguous(), teacher.contiguous()
    gradient = empty_like(x)
    loss = _KERNELS[name](x, y, labels, numbers, x.data_ptr(), gradient.data_ptr())
    return torch.scalar_tensor(loss, dtype=torch.float32), gradient


@_loss_operator.register_fake
def _(student: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return student.new_empty((), dtype=torch.float32), student.new_empty(student.shape)


def keep_gradient(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    """Set up the backward pass of an operator that returns (loss, gradient)."""
    ctx.save_for_backward(output[1])
    ctx.arguments = len(inputs)


def scale_gradient(ctx, grad_loss, _):  # type: ignore[no-untyped-def]
    """Backward pass of an operator that returns (loss, gradient)."""
    (gradient,) = ctx.saved_tensors
    return (gradient * grad_loss.to(gradient.dtype), *[None] * (ctx.arguments - 1))


_loss_operator.register_autograd(scale_gradient, setup_context=keep_gradient)

__all__ = [
    "Kernel",
    "Loss",
    "check_pair",
    "counting_mean",
    "keep_gradient",
    "rows_of",
    "scale_gradient",
    "types_of",
]
