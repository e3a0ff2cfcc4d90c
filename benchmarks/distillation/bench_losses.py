"""The other distillation losses with gradient: tersor modules against PyTorch, through autograd.

PyTorch runs the same formula (``in_torch`` of each module), eager. Kernels: jsd, dkd, mse,
attention, relational.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import Case, main
from tersor.torch import (
    AttentionLoss,
    DKDLoss,
    FeatureLoss,
    JSDLoss,
    MSELogitsLoss,
    RelationalLoss,
)
from tersor.torch.loss import Loss

# Logits of CIFAR-100 and ImageNet classifiers and of a language model; features of a ResNet's
# second stage; embeddings of a batch.
LOGITS = ((256, 100), (256, 1000), (512, 32000))
CASES: tuple[tuple[Loss, tuple[int, ...], tuple[int, ...]], ...] = (
    *((DKDLoss(), shape, shape) for shape in LOGITS),
    *((JSDLoss(), shape, shape) for shape in LOGITS),
    *((MSELogitsLoss(), shape, shape) for shape in LOGITS),
    (FeatureLoss(), (128, 32, 16, 16), (128, 32, 16, 16)),
    (AttentionLoss(), (128, 32, 16, 16), (128, 64, 16, 16)),
    (RelationalLoss(), (64, 128), (64, 512)),
)


def cases() -> Iterator[Case]:
    """One block per loss and shape; bytes are both inputs and the gradient."""
    torch.manual_seed(0)
    for module, student_shape, teacher_shape in CASES:
        student = torch.randn(student_shape, requires_grad=True)
        teacher = torch.randn(teacher_shape)
        labels = (torch.randint(student_shape[-1], student_shape[:-1]),)
        native = module, labels if isinstance(module, DKDLoss) else ()

        def gradient(loss: torch.Tensor, x: torch.Tensor = student) -> object:
            return torch.autograd.grad(loss, x)

        contenders: dict[str, Callable[[], object]] = {
            "torch eager": lambda m=module, x=student, t=teacher, y=labels, g=gradient: g(
                m.in_torch(x, t, y[0])
            ),
            "tersor torch": lambda n=native, x=student, t=teacher, g=gradient: g(n[0](x, t, *n[1])),
        }
        size = 2 * student.numel() + teacher.numel()
        name = f"{type(module).__name__}"
        yield Case(name, {"shape": "x".join(map(str, student_shape))}, contenders, bytes=4 * size)


if __name__ == "__main__":
    main(__doc__, cases)
