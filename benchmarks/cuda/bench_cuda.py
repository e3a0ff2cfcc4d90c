"""CUDA kernels beside a measured copy and torch: GB/s of the bytes that must move.

``python -m benchmarks.cuda.bench_cuda [-o FILE.json]`` on a machine with a device and torch. Times
are medians between CUDA events, inputs are larger than the L2 cache or rotate through it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import tersor
import tersor.cuda
from tersor.quantization import QParams

Contenders = dict[str, Callable[[], Any]]
_ELEMENTS = 64 << 20  # 256 MiB of float32
_CLASSES = (8192, 128256)


def milliseconds(torch: Any, run: Callable[[], Any], repeats: int = 30) -> float:
    """Median time of a call on the device."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def elementwise(torch: Any) -> Iterator[tuple[str, int, Contenders]]:
    """Name, bytes and contenders."""
    from tersor.cuda import quantization

    x = torch.randn(_ELEMENTS, device="cuda")
    q = QParams(scale=[0.05], zero_point=[3])
    codes = quantization.quantize(x, q)
    n = x.numel()

    def in_torch() -> Any:
        return torch.clamp(torch.round(x / 0.05) + 3, -128, 127).to(torch.int8)

    def fake() -> Any:
        return torch.fake_quantize_per_tensor_affine(x, 0.05, 3, -128, 127)

    yield (
        "quantize",
        5 * n,
        {
            "tersor": lambda: quantization.quantize(x, q),
            "torch": in_torch,
            "torch.compile": torch.compile(in_torch),
        },
    )
    yield (
        "dequantize",
        5 * n,
        {
            "tersor": lambda: quantization.dequantize(codes, q),
            "torch": lambda: (codes.float() - 3) * 0.05,
        },
    )
    yield (
        "fake_quantize",
        8 * n,
        {
            "tersor": lambda: quantization.fake_quantize(x, q),
            "torch": fake,
        },
    )
    yield (
        "cast_fp8_e4m3",
        5 * n,
        {
            "tersor": lambda: quantization.cast(x, "fp8_e4m3"),
            "torch": lambda: x.to(torch.float8_e4m3fn),
        },
    )


def losses(torch: Any) -> Iterator[tuple[str, int, Contenders]]:
    """KD loss with its gradient on logits of a language model."""
    from torch.nn import functional

    from tersor.cuda import distillation

    z, t = (torch.randn(_CLASSES, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    y = torch.randint(0, _CLASSES[1], _CLASSES[:1], device="cuda")

    def formula(student: Any) -> Any:
        log_p = functional.log_softmax(student.float() / 2, -1)
        log_q = functional.log_softmax(t.float() / 2, -1)
        kl = functional.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
        return 0.5 * functional.cross_entropy(student.float(), y) + 2 * kl

    compiled = torch.compile(formula)

    def differentiated(function: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            student = z.detach().requires_grad_()
            function(student).backward()
            return student.grad

        return run

    yield (
        "kd_loss",
        6 * z.numel(),
        {
            "tersor": lambda: distillation.kd_loss(z, t, y, temperature=2.0),
            "torch.compile": differentiated(compiled),
        },
    )


def layers(torch: Any) -> Iterator[tuple[str, int, Contenders]]:
    """Weights of 4 bits: several layers in turn, so that none stays in the cache."""
    import numpy as np

    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    size, groups = 4096, 32
    q = QParams(
        scale=rng.uniform(0.01, 0.02, size * groups),
        zero_point=np.zeros(size * groups, int),
        bits=4,
        axis=1,
        group_size=size // groups,
    )
    codes = rng.integers(-8, 8, (size, size), dtype=np.int8)
    many = [quantization.DenseInt4(codes, q) for _ in range(32)]
    dense = [torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(8)]
    x = torch.randn(1, size, device="cuda", dtype=torch.bfloat16)
    one = size * size // 2 + size * groups * 4
    yield (
        "dense_int4_32_layers",
        32 * one,
        {
            "tersor": lambda: [layer(x) for layer in many],
            "torch_bf16": lambda: [x @ dense[i % 8].T for i in range(32)],
        },
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output")
    arguments = parser.parse_args()
    import torch

    if not tersor.cuda.is_available():
        raise SystemExit("no CUDA device, or tersor was built without TERSOR_CUDA=ON")
    source = torch.empty(_ELEMENTS, device="cuda")
    target = torch.empty_like(source)
    copied = 8 * _ELEMENTS / milliseconds(torch, lambda: target.copy_(source)) / 1e6
    rows: list[dict[str, Any]] = []
    for family in (elementwise, losses, layers):
        for name, size, contenders in family(torch):
            for who, run in contenders.items():
                ms = milliseconds(torch, run)
                rate = size / ms / 1e6
                rows.append({"case": name, "who": who, "ms": ms, "GB/s": rate})
                print(f"{name:22} {who:14} {ms:9.3f} ms {rate:8.0f} GB/s {rate / copied:6.1%}")
    print(f"copy: {copied:.0f} GB/s")
    if arguments.output:
        versions = {"tersor": tersor.__version__, "torch": torch.__version__}
        device = tersor.cuda.device_info()
        with open(arguments.output, "w") as f:
            json.dump(
                {"device": device, "versions": versions, "copy": copied, "rows": rows}, f, indent=1
            )


if __name__ == "__main__":
    main()
