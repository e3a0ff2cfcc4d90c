"""What the benchmark of the CUDA kernels runs: families of cases, each with its contenders."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tersor.quantization import QParams


@dataclass
class Case:
    """One operation by several contenders.

    ``bytes`` must move at least (``other_bytes`` where a contender must move others), or
    ``operations`` are to be done. ``graph``: many small kernels, timed as a CUDA graph.
    """

    name: str
    contenders: dict[str, Callable[[], Any]]
    bytes: float = 0
    operations: float = 0
    graph: bool = False
    other_bytes: dict[str, float] = field(default_factory=dict)

    def bytes_of(self, who: str) -> float:
        """Bytes that a contender must move."""
        return self.other_bytes.get(who, self.bytes)


def elementwise(torch: Any, quick: bool) -> Iterator[Case]:
    """Codes, casts, fake quantization and LSQ over 256 MiB of float32."""
    from tersor.cuda import quantization

    rows, columns = (64, 4096) if quick else (16384, 4096)
    x = torch.randn(rows, columns, device="cuda")
    n = x.numel()
    q = QParams(scale=[0.05], zero_point=[3])
    scale = np.random.default_rng(0).uniform(0.03, 0.06, rows)
    per_row = QParams(scale=scale, zero_point=np.zeros(rows, int), axis=0)
    scales = torch.tensor(scale, device="cuda", dtype=torch.float32)
    zeros = torch.zeros(rows, device="cuda", dtype=torch.int32)
    groups = rows * columns // 128
    per_group = QParams(
        scale=np.full(groups, 0.4),
        zero_point=np.zeros(groups, int),
        bits=4,
        axis=1,
        group_size=128,
    )
    codes = quantization.quantize(x, q)
    _, mask = quantization.fake_quantize(x, q)

    def in_torch() -> Any:
        return torch.clamp(torch.round(x / 0.05) + 3, -128, 127).to(torch.int8)

    def rows_in_torch() -> Any:
        return torch.clamp(torch.round(x / scales[:, None]), -128, 127).to(torch.int8)

    def back() -> Any:
        return (codes.float() - 3) * 0.05

    yield Case(
        "quantize",
        {
            "tersor": lambda: quantization.quantize(x, q),
            "torch": in_torch,
            "torch.compile": torch.compile(in_torch),
        },
        5 * n,
    )
    yield Case(
        "quantize_per_row",
        {
            "tersor": lambda: quantization.quantize(x, per_row),
            "torch": rows_in_torch,
            "torch.compile": torch.compile(rows_in_torch),
        },
        5 * n,
    )
    yield Case(
        "quantize_int4_groups",
        {"tersor": lambda: quantization.quantize_packed(x, per_group)},
        4.5 * n + 8 * groups,
    )
    yield Case(
        "dequantize",
        {
            "tersor": lambda: quantization.dequantize(codes, q),
            "torch": back,
            "torch.compile": torch.compile(back),
        },
        5 * n,
    )
    yield Case(
        "fake_quantize",
        {
            "tersor": lambda: quantization.fake_quantize(x, q),
            "torch": lambda: torch.fake_quantize_per_tensor_affine(x, 0.05, 3, -128, 127),
            "torch per row": lambda: torch.fake_quantize_per_channel_affine(
                x, scales, zeros, 0, -128, 127
            ),
        },
        8 * n + n / 8,
        other_bytes={"torch": 8 * n, "torch per row": 8 * n},
    )
    yield Case(
        "fake_quantize_backward",
        {"tersor": lambda: quantization.fake_quantize_backward(x, mask)},
        8 * n + n / 8,
    )
    yield Case(
        "cast_fp8_e4m3",
        {
            "tersor": lambda: quantization.cast(x, "fp8_e4m3"),
            "torch": lambda: x.to(torch.float8_e4m3fn),
        },
        5 * n,
    )


def losses(torch: Any, quick: bool) -> Iterator[Case]:
    """KD loss with its gradient on logits of a language model, bfloat16."""
    from torch.nn import functional

    from tersor.cuda import distillation

    shape = (64, 128256) if quick else (8192, 128256)
    z, t = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    y = torch.randint(0, shape[1], shape[:1], device="cuda")

    def formula(student: Any) -> Any:
        log_p = functional.log_softmax(student.float() / 2, -1)
        log_q = functional.log_softmax(t.float() / 2, -1)
        kl = functional.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
        return 0.5 * functional.cross_entropy(student.float(), y) + 0.5 * 4 * kl

    def differentiated(function: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            student = z.detach().requires_grad_()
            function(student).backward()
            return student.grad

        return run

    contenders = {
        "tersor": lambda: distillation.kd_loss(z, t, y, temperature=2.0),
        "torch.compile": differentiated(torch.compile(formula)),
        "torch": differentiated(formula),
    }
    if importlib.util.find_spec("liger_kernel") is not None:
        contenders["liger KL alone"] = differentiated(_liger(functional, t))
    yield Case("kd_loss", contenders, 6 * z.numel())
    yield Case("dkd_loss", {"tersor": lambda: distillation.dkd_loss(z, t, y)}, 6 * z.numel())
    yield Case("jsd_loss", {"tersor": lambda: distillation.jsd_loss(z, t)}, 6 * z.numel())
    yield Case("mse_logits", {"tersor": lambda: distillation.mse_logits_loss(z, t)}, 6 * z.numel())


def _liger(functional: Any, t: Any) -> Callable[[Any], Any]:
    from liger_kernel.transformers import LigerKLDIVLoss

    loss = LigerKLDIVLoss(reduction="batchmean", log_target=True)

    def run(student: Any) -> Any:
        return loss(
            functional.log_softmax(student.float() / 2, -1),
            functional.log_softmax(t.float() / 2, -1),
        )

    return run


def products(torch: Any, quick: bool) -> Iterator[Case]:
    """int8 and fp8 products through cuBLASLt, and the passes around them."""
    import ml_dtypes

    from tersor.cuda import quantization

    n = 512 if quick else 8192
    x, w = (torch.randint(-127, 128, (n, n), device="cuda", dtype=torch.int8) for _ in range(2))
    work = 2.0 * n**3
    # The tuned one is the best of the heuristic's candidates: what the first is compared with.
    yield Case(
        f"int8_product_{n}",
        {
            "tersor": lambda: quantization.matmul_int8(x, w),
            "tersor tuned": lambda: quantization.matmul_int8(x, w, tune=True),
            "torch._int_mm": lambda: torch._int_mm(x, w.T),
        },
        operations=work,
    )
    sums = quantization.matmul_int8(x, w)
    row, column = (torch.rand(n, device="cuda") for _ in range(2))
    yield Case(
        "dequantize_sums",
        {
            "tersor": lambda: quantization.dequantize_sums(
                sums, row, column, dtype=ml_dtypes.bfloat16
            ),
            "torch": lambda: (sums.float() * row[:, None] * column).bfloat16(),
        },
        6.0 * n * n,
    )
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    bf16 = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    dynamic = quantization.DenseDynamic(
        w.cpu().numpy(), 0.01, dtype=ml_dtypes.bfloat16, tune=not quick
    )
    float8 = quantization.DenseFp8(
        bf16.float().cpu().numpy(), dtype=ml_dtypes.bfloat16, tune=not quick
    )
    contenders: dict[str, Callable[[], Any]] = {
        "tersor int8": lambda: dynamic(a),
        "tersor fp8": lambda: float8(a),
        "torch bf16": lambda: a @ bf16.T,
    }
    contenders.update(_torchao_layers(torch, n, a))
    yield Case(f"dense_{n}", contenders, operations=work)
    eights = [t.to(torch.float8_e4m3fn) for t in (a, bf16)]
    one = torch.ones((), device="cuda")
    yield Case(
        f"fp8_product_{n}",
        {
            "tersor": lambda: quantization.matmul_fp8(*eights, dtype=ml_dtypes.bfloat16),
            "tersor tuned": lambda: quantization.matmul_fp8(
                *eights, dtype=ml_dtypes.bfloat16, tune=True
            ),
            "torch._scaled_mm": lambda: torch._scaled_mm(
                eights[0], eights[1].T, one, one, out_dtype=torch.bfloat16
            ),
        },
        operations=work,
    )


def _torchao_layers(torch: Any, n: int, a: Any) -> dict[str, Callable[[], Any]]:
    if importlib.util.find_spec("torchao") is None:
        return {}
    from torchao import quantization as ao

    out: dict[str, Callable[[], Any]] = {}
    for name, config in (
        ("torchao int8", "Int8DynamicActivationInt8WeightConfig"),
        ("torchao fp8", "Float8DynamicActivationFloat8WeightConfig"),
    ):
        if not hasattr(ao, config):
            continue
        layer = torch.nn.Linear(n, n, bias=False, device="cuda", dtype=torch.bfloat16)
        ao.quantize_(layer, getattr(ao, config)())
        out[name] = _without_gradients(torch, torch.compile(layer), a)
    return out


def _without_gradients(torch: Any, layer: Any, x: Any) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return layer(x)

    return run


def small_rows(torch: Any, quick: bool) -> Iterator[Case]:
    """Layers for one row: 32 in turn, together larger than the cache, as a CUDA graph."""
    from tersor.codebook import Codebook
    from tersor.cuda import codebook, quantization

    size, layers = (512, 4) if quick else (4096, 32)
    rng = np.random.default_rng(0)
    codes = rng.integers(-8, 8, (size, size), dtype=np.int8)
    groups = size // 128
    scale = rng.uniform(0.01, 0.02, size * groups)
    q = QParams(
        scale=scale, zero_point=np.zeros(size * groups, int), bits=4, axis=1, group_size=128
    )
    int4 = [quantization.DenseInt4(codes, q) for _ in range(layers)]
    table = Codebook(
        np.sort(rng.normal(size=16)).astype(np.float32),
        rng.integers(0, 16, (size, size), dtype=np.uint8),
        0.0,
    )
    dense = [torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(layers)]
    for rows in (1, 8):
        x = torch.randn(rows, size, device="cuda", dtype=torch.bfloat16)
        one = size * size / 2 + size * groups * 4
        yield Case(
            f"dense_int4_{rows}_row",
            {
                "tersor": lambda x=x: [layer(x) for layer in int4],
                "torch bf16": lambda x=x: [x @ w.T for w in dense],
            },
            layers * one,
            graph=True,
            other_bytes={"torch bf16": layers * 2.0 * size * size},
        )
    x = torch.randn(1, size, device="cuda", dtype=torch.bfloat16)
    lookups = [codebook.LookupDense(table) for _ in range(layers)]
    yield Case(
        "lookup_dense_1_row",
        {"tersor": lambda: [layer(x) for layer in lookups]},
        layers * size * size / 2,
        graph=True,
    )


def sparse(torch: Any, quick: bool) -> Iterator[Case]:
    """Sparse matrices against dense ones: operations are those of the dense product."""
    from tersor import pruning
    from tersor.cuda import sparse as device_sparse

    n, columns = (256, 64) if quick else (4096, 256)
    w = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
    x = torch.randn(n, columns, device="cuda")
    dense = torch.tensor(w, device="cuda")
    work = 2.0 * n * n * columns
    for share in (0.8, 0.9, 0.95):
        kept = w * pruning.magnitude_mask(w, share)
        ours = device_sparse.from_dense(kept, format="csr")
        blocks = device_sparse.from_dense(
            w * pruning.block_mask(w, share, (4, 4)), format="block", block=(4, 4)
        )
        theirs = torch.tensor(kept, device="cuda").to_sparse_csr()
        yield Case(
            f"spmm_{share:.0%}",
            {
                "tersor csr": lambda ours=ours: ours @ x,
                "tersor block 4x4": lambda blocks=blocks: blocks @ x,
                "torch csr": lambda theirs=theirs: theirs @ x,
                "torch dense fp32": lambda: dense @ x,
            },
            operations=work,
        )
    rows = torch.randn(columns, n, device="cuda", dtype=torch.bfloat16)
    layer = device_sparse.Dense24(w * pruning.nm_mask(w, 2, 4))
    narrow = dense.bfloat16()
    yield Case(
        "dense_24",
        {"tersor": lambda: layer(rows), "torch bf16": lambda: rows @ narrow.T},
        operations=work,
    )


FAMILIES: dict[str, Callable[[Any, bool], Iterator[Case]]] = {
    "elementwise": elementwise,
    "losses": losses,
    "products": products,
    "small_rows": small_rows,
    "sparse": sparse,
}

__all__ = ["FAMILIES", "Case"]
