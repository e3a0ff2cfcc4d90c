"""What the loss modules share: the way to the kernels, eagerly and in captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from . import cuda_loss
from .autograd import NATIVE_DTYPES, empty_like, native_loss
from .formula_checks import check_finite

# student, teacher, labels, numbers, student address, gradient address (or 0) -> loss
Kernel = Callable[
    [torch.Tensor, torch.Tensor, "torch.Tensor | None", Sequence[float], int, int], float
]
_KERNELS: dict[str, Kernel] = {}
_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
_is_transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active
_is_traced: Callable[[], bool] = torch._C._is_tracing
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def surroundings(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None
) -> str:
    """Who calls: whether the tensors have memory that may be read now.

    Returns
    -------
    "eager"
        They have: kernels may run.
    "graph"
        torch.compile, make_fx, torch.jit.trace, a FakeTensorMode or the like wants an operator.
    "transform"
        torch.func differentiates or vectorises: only PyTorch's operations have rules for that.
    """
    if torch.compiler.is_compiling():
        return "graph"
    if _is_transformed():
        return "transform"
    if _modes() or _is_traced():
        return "graph"
    if type(student) not in _PLAIN or type(teacher) not in _PLAIN:
        return "graph"
    return "eager" if labels is None or type(labels) in _PLAIN else "graph"


def adapted(
    operation: str,
    student: torch.Tensor,
    teacher: torch.Tensor,
    dtypes: tuple[torch.dtype, ...],
    **integers: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Tensors that the kernels do not take as they are: check them and choose the arithmetic.

    Parameters
    ----------
    operation : str
        Named in errors.
    student, teacher : torch.Tensor
    dtypes : tuple of torch.dtype
        What the kernels read.
    **integers : torch.Tensor, optional
        Labels and the like.

    Returns
    -------
    student, teacher : torch.Tensor
        Of the dtypes to compute with: narrow ones became float32.
    native : bool
        Whether the kernels take them.

    Raises
    ------
    TypeError
        If logits are not floating-point numbers or labels are not integers.
    ValueError
        If the tensors are on several devices.
    """
    for name, x in (("student", student), ("teacher", teacher)):
        if not x.is_floating_point():
            raise TypeError(f"{operation}: {name} must be floating-point numbers, got {x.dtype}")
    for name, y in (("teacher", teacher), *integers.items()):
        if y is not None and y.device != student.device:
            raise ValueError(
                f"{operation}: {name} must be on the student's device {student.device}, "
                f"got {y.device}"
            )
    for name, y in integers.items():
        if y is not None and (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool):
            raise TypeError(f"{operation}: {name} must be integers, got {y.dtype}")
    on_cpu = student.device.type == "cpu"
    if student.element_size() < 4 and not (on_cpu and student.dtype in dtypes):
        student = student.float()
    native = on_cpu and student.dtype in dtypes
    if not (native and teacher.dtype in dtypes):
        teacher = teacher.to(torch.float32 if native else student.dtype)
    return student, teacher, native


class Loss(torch.nn.Module):
    """Base of the losses of two tensors: `name` chooses the kernel, `numbers` are its options."""

    name: str
    dtypes: tuple[torch.dtype, ...] = NATIVE_DTYPES

    def __init_subclass__(cls, *, kernel: Kernel, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _KERNELS[cls.name] = kernel

    @property
    def numbers(self) -> tuple[float, ...]:
        """Options of the kernel."""
        return ()

    def in_torch(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Formula in PyTorch operations, for devices and dtypes without a kernel."""
        raise NotImplementedError

    def check_values(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None
    ) -> None:
        """Raise what the kernel would raise, before `in_torch`."""
        check_finite(f"{self.name}_loss", student, teacher)

    def run(
        self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Differentiable loss of tensors whose shapes were checked."""
        teacher = teacher.detach()
        if (
            cuda_loss.takes(student, teacher, labels)
            and student.dtype in self.dtypes
            and teacher.dtype in self.dtypes
            and surroundings(student, teacher, labels) == "eager"
        ):
            return cuda_loss.named_loss(self.name, student, teacher, labels, self.numbers)
        native = (
            student.is_cpu
            and teacher.is_cpu
            and student.dtype in self.dtypes
            and teacher.dtype in self.dtypes
            and (labels is None or (labels.is_cpu and labels.dtype == torch.int64))
        )
        if not native:
            student, teacher, native = adapted(
                f"{self.name}_loss", student, teacher, self.dtypes, labels=labels
            )
            labels = None if labels is None else labels.long()
        caller = surroundings(student, teacher, labels)
        if not native or caller == "transform":
            if caller == "eager":
                self.check_values(student, teacher, labels)
            return self.in_torch(student, teacher, labels)
        if labels is not None:
            labels = labels.contiguous()
        if caller == "graph":
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
        return values.sum() / max(values.numel(), 1)
    counts = labels.flatten() != ignore_index
    return torch.where(counts, values, 0).sum() / counts.sum().clamp(min=1)


def softened(
    x: torch.Tensor, labels: torch.Tensor | None, ignore_index: int, temperature: float
) -> torch.Tensor:
    """Logits (rows, classes) over the temperature; 0 in rows that do not count and may hold NaN."""
    x = x.flatten(0, -2)
    if labels is not None:
        x = torch.where((labels.flatten() != ignore_index).unsqueeze(1), x, 0)
    return x / temperature


def divergence(log_q: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """Sum of q log(q / p) over the last axis, where 0 log(0 / p) is 0, also in gradients."""
    q = log_q.exp()
    positive = q > 0
    return (q * torch.where(positive, log_q - torch.where(positive, log_p, 0), 0)).sum(-1)


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
    return torch.scalar_tensor(loss, dtype=torch.float32, device="cpu"), gradient


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
    "adapted",
    "check_pair",
    "counting_mean",
    "divergence",
    "keep_gradient",
    "rows_of",
    "scale_gradient",
    "softened",
    "surroundings",
    "types_of",
]
