"""Element-wise quantization (fake_quantize, lsq, cast, pack_bits, quantize ...) beside all peers.

One run, one thread, memory that is reused. GB/s counts what a single pass must read and write;
the figures are those of the fastest sample, as other work may share the machine. ``--json`` keeps
everything; the table is markdown.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch

import tersor
from benchmarks.harness import machine, measure
from benchmarks.quantization.elementwise_peers import compiled, onnx_call
from tersor import _core, quantization
from tersor.quantization import QParams

SIZES = {"256 KB": 1 << 16, "16 MB": 1 << 22}
SCALE = 0.05
Calls = dict[str, Callable[[], Any] | None]
Row = tuple[str, float, Calls]

rng = np.random.default_rng(0)


def copies(x: np.ndarray) -> Row:
    y = np.empty_like(x)
    return "copy float32 (the limit)", 8.0, {"tersor": lambda: np.copyto(y, x)}


def per_tensor(x: np.ndarray) -> Iterator[Row]:
    n, t = x.size, torch.from_numpy(x)
    q = QParams(scale=[SCALE], zero_point=[3])
    codes, y = np.empty(n, np.int8), np.empty_like(x)
    quantized = torch.quantize_per_tensor(t, SCALE, 3, torch.qint8)
    zero, scale = np.int8(3).reshape(()), np.float32(SCALE).reshape(())
    yield (
        "quantize int8 per tensor",
        5,
        {
            "tersor": lambda: quantization.quantize(x, q, out=codes),
            "torch": lambda: torch.quantize_per_tensor(t, SCALE, 3, torch.qint8),
            "compile": compiled(
                lambda v: torch.clamp(torch.round(v / SCALE) + 3, -128, 127).to(torch.int8), t
            ),
            "onnxruntime": onnx_call(
                "QuantizeLinear", {"x": x, "scale": scale, "zero": zero}, 3, x.shape
            ),
        },
    )
    yield (
        "dequantize int8",
        5,
        {
            "tersor": lambda: quantization.dequantize(codes, q, out=y),
            "torch": quantized.dequantize,
            "compile": compiled(
                lambda v: (v.to(torch.float32) - 3) * SCALE, torch.from_numpy(codes)
            ),
            "onnxruntime": onnx_call(
                "DequantizeLinear", {"x": codes, "scale": scale, "zero": zero}, 1, x.shape
            ),
        },
    )


def per_channel(x: np.ndarray) -> Iterator[Row]:
    """64 channels in front, in the middle and last."""
    for name, shape, axis in (
        ("axis 0", (64, -1), 0),
        ("middle axis", (4, 64, -1), 1),
        ("last axis", (-1, 64), 1),
    ):
        v = x.reshape(shape)
        t = torch.from_numpy(v)
        scales = rng.uniform(0.02, 0.08, 64).astype(np.float32)
        q = QParams(scale=scales, zero_point=[0] * 64, axis=axis)
        codes = np.empty(v.shape, np.int8)
        ts, tz = torch.from_numpy(scales).double(), torch.zeros(64, dtype=torch.int64)
        along = torch.from_numpy(scales).reshape([-1 if a == axis else 1 for a in range(v.ndim)])
        yield (
            f"quantize int8 per channel, {name}",
            5,
            {
                "tersor": lambda v=v, q=q, c=codes: quantization.quantize(v, q, out=c),
                "torch": lambda t=t, s=ts, z=tz, a=axis: torch.quantize_per_channel(
                    t, s, z, a, torch.qint8
                ),
                "compile": compiled(
                    lambda v, s: torch.clamp(torch.round(v / s), -128, 127).to(torch.int8), t, along
                ),
                "onnxruntime": onnx_call(
                    "QuantizeLinear",
                    {"x": v, "scale": scales, "zero": np.zeros(64, np.int8)},
                    3,
                    v.shape,
                    axis=axis,
                ),
            },
        )


def straight_through(t: torch.Tensor, dy: torch.Tensor) -> Callable[[], Any]:
    """Forward and backward of torch's own operator."""
    leaf = t.clone().requires_grad_()

    def call() -> None:
        leaf.grad = None
        torch.fake_quantize_per_tensor_affine(leaf, SCALE, 3, -128, 127).backward(dy)

    return call


class _Lsq(torch.nn.Module):
    """LSQ by its formula with the usual straight-through detach trick."""

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        v = torch.clamp(x / scale, -128, 127)
        return ((torch.round(v) - v).detach() + v) * scale


def lsq_in_torch(t: torch.Tensor, dy: torch.Tensor, fast: bool) -> Callable[[], Any] | None:
    leaf, scale = t.clone().requires_grad_(), torch.tensor(SCALE, requires_grad=True)
    module: Any = _Lsq()
    if fast:
        torch._dynamo.reset()
        module = torch.compile(module, dynamic=False)

    def call() -> None:
        leaf.grad = scale.grad = None
        module(leaf, scale).backward(dy)

    try:
        call()
    except Exception:
        return None
    return call


def learned(t: torch.Tensor, dy: torch.Tensor) -> Callable[[], Any]:
    leaf = t.clone().requires_grad_()
    scale = torch.tensor([SCALE], requires_grad=True)
    zero = torch.tensor([0.0], requires_grad=True)

    def call() -> None:
        leaf.grad = scale.grad = zero.grad = None
        torch._fake_quantize_learnable_per_tensor_affine(
            leaf, scale, zero, -128, 127, 1.0
        ).backward(dy)

    return call


def training(x: np.ndarray) -> Iterator[Row]:
    n, t = x.size, torch.from_numpy(x)
    dy = rng.normal(size=n).astype(np.float32)
    tdy = torch.from_numpy(dy)
    q = QParams(scale=[SCALE], zero_point=[3])
    y, dx, mask = np.empty_like(x), np.empty_like(x), np.empty((n + 7) // 8, np.uint8)

    def fake() -> None:
        quantization.fake_quantize(x, q, out=y, mask=mask)
        quantization.fake_quantize_backward(dy, mask, out=dx)

    def fake_forward(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r = torch.round(v / SCALE) + 3
        c = torch.clamp(r, -128, 127)
        return (c - 3) * SCALE, r == c

    inside = fake_forward(t)[1]
    forward = compiled(fake_forward, t)
    backward = compiled(lambda g, m: torch.where(m, g, 0.0), tdy, inside)
    both = (lambda: (forward(), backward())) if forward and backward else None
    yield (
        "fake quantize forward + backward",
        16.25,
        {
            "tersor": fake,
            "torch": straight_through(t, tdy),
            "compile": both,
        },
    )

    def lsq() -> None:
        quantization.lsq_forward(x, SCALE, out=y)
        quantization.lsq_backward(dy, x, SCALE, out=dx)

    yield (
        "LSQ forward + backward",
        20,
        {
            "tersor": lsq,
            "torch": learned(t, tdy),
            "torch formula": lsq_in_torch(t, tdy, False),
            "compile": lsq_in_torch(t, tdy, True),
        },
    )


def casts(x: np.ndarray) -> Iterator[Row]:
    t = torch.from_numpy(x)
    for name, dtype, peer, onnx_type, size in (
        ("fp8_e4m3", ml_dtypes.float8_e4m3fn, torch.float8_e4m3fn, 17, 1),
        ("fp8_e5m2", ml_dtypes.float8_e5m2, torch.float8_e5m2, 19, 1),
        ("bf16", ml_dtypes.bfloat16, torch.bfloat16, 16, 2),
        ("fp16", np.float16, torch.float16, 10, 2),
    ):
        out, back = np.empty(x.size, dtype), np.empty_like(x)
        narrow = torch.empty(x.size, dtype=peer)
        wide = torch.empty(x.size)
        yield (
            f"cast to {name}",
            4 + size,
            {
                "tersor": lambda n=name, o=out: quantization.cast(x, n, out=o),
                "torch": lambda p=narrow: p.copy_(t),
                "compile": compiled(lambda v, p=peer: v.to(p), t),
                "onnxruntime": onnx_call("Cast", {"x": x}, onnx_type, x.shape, to=onnx_type),
                "ml_dtypes": lambda d=dtype: x.astype(d),
            },
        )
        quantization.cast(x, name, out=out)
        narrow.copy_(t)
        yield (
            f"cast from {name}",
            4 + size,
            {
                "tersor": lambda o=out, b=back: quantization.cast(o, "fp32", out=b),
                "torch": lambda p=narrow, w=wide: w.copy_(p),
                "compile": compiled(lambda v: v.to(torch.float32), narrow),
                "ml_dtypes": lambda o=out: o.astype(np.float32),
            },
        )


def low_bits(x: np.ndarray) -> Iterator[Row]:
    v = x.reshape(-1, 128)
    t = torch.from_numpy(v)
    q = quantization.choose_qparams(v, 4, axis=1, group_size=128)
    packed = np.empty(x.size // 2, np.uint8)
    scales = torch.from_numpy(q.scale).reshape(-1, 1)

    def formula(v: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        c = torch.clamp(torch.round(v / s), -7, 7).to(torch.int8) & 15
        return c[:, ::2] | (c[:, 1::2] << 4)

    yield (
        "int4 group-128 quantize + pack",
        4.5,
        {
            "tersor": lambda: quantization.quantize_packed(v, q, out=packed),
            "torch": lambda: formula(t, scales),
            "compile": compiled(formula, t, scales),
        },
    )
    y = np.empty_like(v)
    float_zero = quantization.choose_qparams(v, 4, False, 1, 128, float_zero_point=True)
    codes_out = np.empty(v.shape, np.int8)
    yield (
        "int4 group-128 quantize, affine_float_zero",
        5,
        {"tersor": lambda: quantization.quantize(v, float_zero, out=codes_out)},
    )
    yield (
        "int4 group-128 unpack + dequantize",
        4.5,
        {"tersor": lambda: quantization.dequantize_packed(packed, q, v.shape, out=y)},
    )
    codes = rng.integers(-7, 8, x.size).astype(np.int8)
    back = np.empty_like(codes)
    for bits in (4, 3):
        bytes_ = quantization.pack_bits(codes, bits)
        yield (
            f"pack_bits, {bits} bits",
            1 + bits / 8,
            {"tersor": lambda b=bits, o=bytes_: quantization.pack_bits(codes, b, out=o)},
        )
        yield (
            f"unpack_bits, {bits} bits",
            1 + bits / 8,
            {
                "tersor": lambda b=bits, p=bytes_: quantization.unpack_bits(
                    p, b, codes.shape, out=back
                )
            },
        )


def observers(x: np.ndarray) -> Iterator[Row]:
    from torch.ao.quantization.observer import HistogramObserver as TorchHistogram

    t = torch.from_numpy(x)
    seen = quantization.HistogramObserver().observe(x)
    peer = TorchHistogram(bins=2048)
    yield (
        "min/max observer",
        4,
        {
            "tersor": lambda: _core.quantization.min_max(x),
            "torch": lambda: torch.aminmax(t),
            "compile": compiled(torch.aminmax, t),
            "numpy": lambda: (x.min(), x.max()),
        },
    )
    yield (
        "2048-bin histogram observer",
        4,
        {
            "tersor": lambda: seen.observe(x),
            "torch": lambda: peer(t),
            "torch.histc": lambda: torch.histc(t, 2048, -6.0, 6.0),
        },
    )


def clip_search(x: np.ndarray) -> Iterator[Row]:
    """The whole search of choose_qparams, and as many passes of the peers."""
    t, largest = torch.from_numpy(x), float(np.abs(x).max())
    scales = torch.tensor([largest / 127 * (1 - k / 150) for k in range(100)])

    def squared_error(v: torch.Tensor, s: float) -> torch.Tensor:
        return torch.square(v - torch.clamp(torch.round(v / s), -127, 127) * s).sum()

    torch._dynamo.reset()
    fast = torch.compile(lambda v, s: squared_error(v, s), dynamic=False)
    rows = [s.reshape(()) for s in scales]
    yield (
        "exact MSE clip search, 71 candidates",
        0,
        {
            "tersor": lambda: quantization.choose_qparams(x, method="mse"),
            "torch (71)": lambda: [squared_error(t, float(s)) for s in scales[:71]],
            "compile (71)": lambda: [fast(t, s) for s in rows[:71]],
        },
    )


GROUPS = {
    "copy": lambda x: iter([copies(x)]),
    "tensor": per_tensor,
    "channel": per_channel,
    "training": training,
    "casts": casts,
    "bits": low_bits,
    "observers": observers,
    "search": clip_search,
}


def overhead() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls on 256 floats (1 KB)."""
    x = rng.normal(size=256).astype(np.float32)
    t = torch.from_numpy(x)
    codes, y, mask = np.empty(256, np.int8), np.empty_like(x), np.empty(32, np.uint8)
    q = QParams(scale=[SCALE], zero_point=[3])
    native = _core.quantization
    scale, zero = torch.tensor([SCALE]), torch.tensor([3.0])
    out, layout = torch.empty(256), (1, 1, 256, 0)
    yield "binding, NumPy, out=", lambda: native.quantize_affine(x, SCALE, 3, -128, 127, codes)
    yield "binding with QParams, NumPy, out=", lambda: native.quantize(x, q, codes)
    yield (
        "binding, torch data pointers, out=",
        lambda: native.fake_quantize_at(
            t.data_ptr(), out.data_ptr(), 0, layout, scale.data_ptr(), zero.data_ptr(), 3, -128, 127
        ),
    )
    yield (
        "quantize_affine(x, scale, out=)",
        lambda: quantization.quantize_affine(x, SCALE, 3, out=codes),
    )
    yield "quantize(x, q)", lambda: quantization.quantize(x, q)
    yield "quantize(x, q, out=)", lambda: quantization.quantize(x, q, out=codes)
    yield "quantize(torch tensor, q, out=)", lambda: quantization.quantize(t, q, out=codes)
    yield (
        "fake_quantize(x, q, out=, mask=)",
        lambda: quantization.fake_quantize(x, q, out=y, mask=mask),
    )
    half = np.empty(256, np.float16)
    yield "cast(x, 'fp16', out=)", lambda: quantization.cast(x, "fp16", out=half)
    yield "torch.quantize_per_tensor", lambda: torch.quantize_per_tensor(t, SCALE, 3, torch.qint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--only", choices=[*GROUPS, "overhead"], nargs="*")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch._dynamo.config.cache_size_limit = 64  # one function is compiled for many shapes
    torch.set_num_threads(1)
    tersor.set_threads(1)
    rows: list[dict[str, Any]] = []
    groups = args.only or [*GROUPS, "overhead"]
    for group in (g for g in groups if g in GROUPS):
        by_name: dict[str, dict[str, Any]] = {}
        for size, n in SIZES.items():
            x = rng.normal(size=n).astype(np.float32)
            for name, bytes_, calls in GROUPS[group](x):
                figures = measure({k: f for k, f in calls.items() if f}, repeat=args.repeat)
                by_name.setdefault(name, {})[size] = {
                    k: (f["min_s"], bytes_ * n / f["min_s"] / 1e9) for k, f in figures.items()
                }
        for name, sizes in by_name.items():
            cells = []
            for size, figures in sizes.items():
                ours = figures.pop("tersor")
                peer, best = min(figures.items(), key=lambda i: i[1], default=("-", (0, 0)))
                unit = 1 if ours[1] else 0
                show = (lambda v: f"{v[1]:.1f}") if unit else (lambda v: f"{1e3 * v[0]:.2f} ms")
                ratio = best[0] / ours[0] if best[0] else 0
                cells.append(
                    f"{show(ours)} | {peer} {show(best) if best[0] else ''} | "
                    f"{f'{ratio:.2f}' if ratio else '-'}"
                )
                rows.append(
                    {"op": name, "size": size, "tersor": ours, "peers": figures, "ratio": ratio}
                )
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if "overhead" in groups:
        for name, call in overhead():
            best = measure({"call": call}, repeat=args.repeat)["call"]["min_s"]
            rows.append({"op": f"overhead: {name}", "seconds": best})
            print(f"| {name} | {1e6 * best:.2f} us |", flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
