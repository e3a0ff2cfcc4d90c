"""Combined distillation loss with gradient: tersor, PyTorch eager, torch.compile, NumPy.

Logits of float32, T = 4, alpha = 0.5. ``tersor torch`` is the module through autograd, as the
peers are; ``tersor`` the function on NumPy arrays with ``out=``. Kernels: softened, few_classes,
bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Case, main
from tersor.distillation import kd_loss

SHAPES = ((128, 10), (256, 1000), (1024, 1000), (512, 32000), (64, 128256))
TEMPERATURE, ALPHA = 4.0, 0.5


def numpy_kd(z: np.ndarray, t: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The formula as a NumPy user writes it."""

    def log_softmax(x: np.ndarray) -> np.ndarray:
        x = x - x.max(1, keepdims=True)
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    rows = np.arange(len(z))
    log_p, log_q = log_softmax(z / TEMPERATURE), log_softmax(t / TEMPERATURE)
    log_plain = log_softmax(z)
    q = np.exp(log_q)
    loss = (1 - ALPHA) * TEMPERATURE**2 * (q * (log_q - log_p)).sum() - ALPHA * log_plain[
        rows, y
    ].sum()
    gradient = (1 - ALPHA) * TEMPERATURE * (np.exp(log_p) - q) + ALPHA * np.exp(log_plain)
    gradient[rows, y] -= ALPHA
    return loss / len(z), gradient / np.float32(len(z))


def torch_contenders(
    z: np.ndarray, t: np.ndarray, y: np.ndarray
) -> dict[str, Callable[[], object]]:
    """Forward and backward through autograd, to a gradient of the logits."""
    import torch
    from torch.nn import functional

    from tersor.torch import KDLoss

    student = torch.from_numpy(z).requires_grad_()
    teacher, labels = torch.from_numpy(t), torch.from_numpy(y)

    def formula(z: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        soft = functional.kl_div(
            torch.log_softmax(z / TEMPERATURE, 1),
            torch.log_softmax(t / TEMPERATURE, 1),
            log_target=True,
            reduction="batchmean",
        )
        hard = functional.cross_entropy(z, y)
        return ALPHA * hard + (1 - ALPHA) * TEMPERATURE**2 * soft

    def through_autograd(loss: Callable[..., torch.Tensor]) -> Callable[[], object]:
        def call() -> object:
            return torch.autograd.grad(loss(student, teacher, labels), student)

        return call

    return {
        "torch eager": through_autograd(formula),
        "torch compile": through_autograd(torch.compile(formula, dynamic=False)),
        "tersor torch": through_autograd(KDLoss(TEMPERATURE, ALPHA)),
    }


def cases() -> Iterator[Case]:
    """Small networks to language models; bytes are two logits in and one gradient out."""
    try:
        import torch  # noqa: F401
    except ImportError:
        peers = False
    else:
        peers = True
    rng = np.random.default_rng(0)
    for rows, classes in SHAPES:
        z, t = rng.normal(size=(2, rows, classes)).astype(np.float32)
        y = rng.integers(0, classes, rows)
        out = np.empty_like(z)
        contenders = torch_contenders(z, t, y) if peers else {}
        contenders["numpy"] = lambda z=z, t=t, y=y: numpy_kd(z, t, y)
        contenders["tersor"] = lambda z=z, t=t, y=y, out=out: kd_loss(
            z, t, y, temperature=TEMPERATURE, alpha=ALPHA, out=out
        )
        yield Case("kd_loss", {"rows": rows, "classes": classes}, contenders, bytes=3 * z.nbytes)


if __name__ == "__main__":
    main(__doc__, cases)
