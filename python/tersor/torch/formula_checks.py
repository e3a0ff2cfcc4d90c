"""What the kernels refuse, refused where the same formula runs in PyTorch operations.

Native half: ``check_logits`` and ``read_labels`` of ``cpp/tersor/distillation/rows.h``.
"""

from __future__ import annotations

import torch


def can_read(x: torch.Tensor) -> bool:
    """Whether the host may ask for values: no meta tensor, no CUDA graph that is being captured."""
    if x.is_meta:
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def check_finite(operation: str, student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Features without NaN and infinities. One wait for the device, as in `check_logits`."""
    if not can_read(student):
        return
    wrong = ~(student.isfinite().all() & teacher.isfinite().all())
    if bool(wrong):
        for name, x in (("student", student), ("teacher", teacher)):
            values = x.detach().flatten()
            bad = values[~values.isfinite()]
            if len(bad):
                raise ValueError(f"{operation}: {name} must be finite, got {bad[0].item()}")


def check_logits(
    operation: str,
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    ignore_index: int,
    *,
    indices: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    divide: bool = True,
    finite: bool = False,
) -> None:
    """Labels, logits, saved classes and class weights, as the kernels check them.

    Parameters
    ----------
    operation : str
        Named in errors.
    student, teacher : torch.Tensor, shape (..., classes) and (..., classes or k)
    labels : torch.Tensor of int64, shape (...), optional
    ignore_index : int
    indices : torch.Tensor of int64, shape (..., k), optional
    weights : torch.Tensor, shape (classes,), optional
    divide : bool
        Whether the labels' weights are a divisor: one must be > 0.
    finite : bool
        Whether -inf is an error, too.

    Raises
    ------
    ValueError
        Naming a value and its row.
    """
    if not can_read(student):
        return
    z, t = student.detach().flatten(0, -2), teacher.detach().flatten(0, -2)
    classes = z.shape[1]
    if z.numel() == 0 or t.numel() == 0:
        return
    y = None if labels is None else labels.flatten()
    counts = torch.ones_like(z[:, 0], dtype=torch.bool) if y is None else y != ignore_index
    wrong_label = torch.zeros_like(counts) if y is None else counts & ((y < 0) | (y >= classes))
    wrong_logits = [counts & ~_good_rows(x, finite) for x in (z, t)]
    wrong = wrong_label.any() | wrong_logits[0].any() | wrong_logits[1].any()
    if indices is not None:
        flat = indices.flatten(0, -2)
        wrong |= ((flat < 0) | (flat >= classes)).any() | _repeats(flat).any()
    if weights is not None:
        wrong |= ~(weights.isfinite() & (weights >= 0)).all()
        if y is not None and divide:
            some = (weights[y.clamp(0, classes - 1)] > 0) & counts
            wrong |= counts.any() & ~some.any()
    if not bool(wrong):
        return
    # Slow from here on: one of the checks names what is wrong.
    if weights is not None:
        _check_weights(operation, weights)
    if indices is not None:
        _check_indices(operation, indices.flatten(0, -2), classes)
    if y is not None and bool(wrong_label.any()):
        row = int(wrong_label.nonzero()[0])
        raise ValueError(
            f"{operation}: labels must be in [0, {classes}) or {ignore_index}, got {int(y[row])} "
            f"in row {row}"
        )
    for name, x, bad in (("student", z, wrong_logits[0]), ("teacher", t, wrong_logits[1])):
        if bool(bad.any()):
            _raise_logits(operation, name, x, int(bad.nonzero()[0]), finite)
    raise ValueError(
        f"{operation}: class_weights must be > 0 for a class that occurs, got 0 for all of them"
    )


def _good_rows(x: torch.Tensor, finite: bool) -> torch.Tensor:
    """Rows of numbers below infinity, one of them above -inf."""
    if finite:
        return x.isfinite().all(1)
    return (x < torch.inf).all(1) & (x > -torch.inf).any(1)


def _repeats(indices: torch.Tensor) -> torch.Tensor:
    ordered = indices.sort(1).values
    return (ordered[:, 1:] == ordered[:, :-1]).any(1)


def _check_weights(operation: str, weights: torch.Tensor) -> None:
    bad = (~(weights.isfinite() & (weights >= 0))).nonzero().flatten()
    if len(bad):
        c = int(bad[0])
        raise ValueError(
            f"{operation}: class_weights must be finite and >= 0, got {weights[c].item():g} "
            f"for class {c}"
        )


def _check_indices(operation: str, indices: torch.Tensor, classes: int) -> None:
    outside = ((indices < 0) | (indices >= classes)).nonzero()
    if len(outside):
        row, k = outside[0].tolist()
        raise ValueError(
            f"{operation}: teacher_indices must be in [0, {classes}), got {int(indices[row, k])} "
            f"in row {row}"
        )
    twice = _repeats(indices).nonzero()
    if len(twice):
        row = int(twice[0])
        ordered = indices[row].sort().values
        c = int(ordered[1:][ordered[1:] == ordered[:-1]][0])
        raise ValueError(
            f"{operation}: teacher_indices must be distinct in a row, got {c} twice in row {row}"
        )


def _raise_logits(operation: str, name: str, x: torch.Tensor, row: int, finite: bool) -> None:
    values = x[row]
    bad = (~(values.isfinite() if finite else values < torch.inf)).nonzero()
    if len(bad) == 0:
        raise ValueError(f"{operation}: a row of logits must have one above -inf, got none")
    c = int(bad[0])
    must = "finite" if finite else "numbers below infinity"
    raise ValueError(
        f"{operation}: {name} logits must be {must}, got {values[c].item()} in row {row}, class {c}"
    )


__all__ = ["can_read", "check_finite", "check_logits"]
