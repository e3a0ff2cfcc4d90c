"""The losses in NumPy float64, written from their papers: loss and gradient."""

from __future__ import annotations

import numpy as np


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def numeric_gradient(f, x, step=1e-6):
    """Central differences of f at x, one entry at a time."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        moved = x.copy()
        moved[i] += step
        up = f(moved)
        moved[i] -= 2 * step
        gradient[i] = (up - f(moved)) / (2 * step)
    return gradient


def standardized(x):
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-7)


def dense_teacher(teacher, indices, classes):
    """Top-k logits as dense ones, -inf elsewhere (duplicates add their probabilities)."""
    dense = np.full((len(teacher), classes), -np.inf)
    for r, (values, columns) in enumerate(zip(teacher, indices, strict=True)):
        for v, c in zip(values, columns, strict=True):
            dense[r, c] = np.logaddexp(dense[r, c], v)
    return dense


def kd(z, t, y=None, *, temperature=4.0, alpha=0.5, label_smoothing=0.0, class_weights=None,
       ignore_index=-100, standardize=False):  # fmt: skip
    """Combined loss alpha * CE + (1 - alpha) * T^2 * KL, and its gradient but for standardize."""
    z, t = np.float64(z), np.float64(t)
    rows, classes = z.shape
    counts = np.ones(rows, bool) if y is None else np.asarray(y) != ignore_index
    if not counts.any():
        return 0.0, np.zeros_like(z)
    sz, st = (standardized(z), standardized(t)) if standardize else (z, t)
    log_p, log_q = log_softmax(sz / temperature), log_softmax(st / temperature)
    q = np.exp(log_q)
    kl = (q * np.where(q > 0, log_q - log_p, 0)).sum(1)
    alpha = 0 if y is None else alpha
    soft = (1 - alpha) / counts.sum()
    loss = soft * temperature**2 * kl[counts].sum()
    gradient = soft * temperature * (np.exp(log_p) - q) * counts[:, None]
    if alpha:
        w = np.ones(classes) if class_weights is None else np.float64(class_weights)
        label = np.where(counts, y, 0)
        target = label_smoothing / classes * np.tile(w, (rows, 1))
        target[np.arange(rows), label] += (1 - label_smoothing) * w[label]
        target *= counts[:, None] * alpha / w[label][counts].sum()
        log_plain = log_softmax(z)
        loss -= (target * log_plain).sum()
        gradient += np.exp(log_plain) * target.sum(1, keepdims=True) - target
    return loss, gradient
