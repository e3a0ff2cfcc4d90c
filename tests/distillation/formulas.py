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


def dkd(z, t, y, *, temperature=4.0, alpha=1.0, beta=8.0):
    """Loss of decoupled distillation, every row counted."""
    rows = np.arange(len(z))
    p, q = np.exp(log_softmax(z / temperature)), np.exp(log_softmax(t / temperature))
    p_y, q_y = p[rows, y], q[rows, y]
    target = q_y * np.log(q_y / p_y) + (1 - q_y) * np.log((1 - q_y) / (1 - p_y))
    keep = np.ones(z.shape, bool)
    keep[rows, y] = False
    z, t = (x[keep].reshape(len(z), -1) / temperature for x in (z, t))
    log_p, log_q = log_softmax(z), log_softmax(t)
    others = (np.exp(log_q) * (log_q - log_p)).sum(1)
    return temperature**2 * (alpha * target + beta * others).mean()


def jsd(z, t, *, beta=0.5, temperature=1.0):
    """Loss of the generalised Jensen-Shannon divergence."""
    log_p, log_q = log_softmax(z / temperature), log_softmax(t / temperature)
    p, q = np.exp(log_p), np.exp(log_q)
    if beta in (0, 1):
        rows = (q * (log_q - log_p)).sum(1) if beta == 0 else (p * (log_p - log_q)).sum(1)
    else:
        log_m = np.log(beta * q + (1 - beta) * p)
        rows = (beta * q * (log_q - log_m) + (1 - beta) * p * (log_p - log_m)).sum(1)
    return temperature**2 * rows.mean()


def attention(x, y, channels_last=False):
    """Loss of attention transfer."""

    def attention_map(x):
        a = (x**2).sum(-1 if channels_last else 1).reshape(len(x), -1)
        return a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)

    return ((attention_map(x) - attention_map(y)) ** 2).mean()


def relational(x, y, distance=1.0, angle=2.0):
    """Loss of relational distillation, from differences as in the paper."""

    def huber(d):
        return np.where(np.abs(d) <= 1, d**2 / 2, np.abs(d) - 0.5).mean()

    def parts(x):
        sides = x[None] - x[:, None]
        d = np.linalg.norm(sides, axis=2)
        units = np.divide(sides, d[..., None], out=np.zeros_like(sides), where=d[..., None] > 0)
        return d / d[d > 0].mean() if (d > 0).any() else d, units @ units.transpose(0, 2, 1)

    (d, angles), (teacher_d, teacher_angles) = parts(x), parts(y)
    return distance * huber(d - teacher_d) + angle * huber(angles - teacher_angles)
