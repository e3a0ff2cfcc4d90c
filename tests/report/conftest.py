"""A report of invented figures, for everything that only shows them."""

import pytest

from tersor.report import Latency, Report, TargetFigures, Variant
from tersor.targets import Budget, Miss


def latency(median, batch=1):
    return Latency(median * 1.05, median, median * 1.5, median * 0.9, median * 0.1, 100, 10, batch)


def on(target, seconds, source, misses=()):
    formula = "" if source == "measured" else f"MACs / {target}"
    return TargetFigures(
        target,
        seconds,
        seconds * 4,
        50_000,
        source,
        source,
        latency_formula=formula,
        energy_formula="4 W x latency",
        sources=("a <b>source</b>",),
        budget=Budget(latency=1e-3),
        misses=misses,
    )


def variant(name, recipe, size, seconds, accuracy, target=None):
    return Variant(
        name=name,
        recipe=recipe,
        size_bytes=size,
        parameters=28_410,
        macs=673_088,
        latency=latency(seconds),
        throughput=latency(seconds * 32, 64),
        peak_memory_bytes=size * 4,
        accuracy=accuracy,
        agreement=None if accuracy is None else 0.99,
        sqnr_db=None if name == "fp32" else 31.5,
        on_target=target,
        sparsity=0.0 if name == "fp32" else 0.75,
    )


@pytest.fixture
def report():
    miss = Miss("latency", 1e-3, 3.2e-3, "modelled")
    return Report(
        variants=(
            variant("fp32", "fp32", 117_000, 72e-6, 0.995),
            variant("cloud", "bf16", 60_000, 40e-6, 0.995, on("cloud", 40e-6, "measured")),
            variant("edge", "int8", 33_000, 22e-6, 0.9934, on("edge", 95e-6, "modelled")),
            variant(
                "mcu & co", "int8", 32_000, 23e-6, 0.99, on("mcu", 3.2e-3, "modelled", (miss,))
            ),
        ),
        baseline="fp32",
        title="Digits <three> scales",
        data={"name": "digits", "samples": 602, "labeled": True},
        environment={"processor": "a processor", "isa": "avx2", "tersor": "0.1.0"},
        created="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def bare():
    """One variant, no data, no target."""
    return Report(
        (variant("fp32", "fp32", 1000, 1e-3, None),),
        "fp32",
        environment={"processor": "a processor", "isa": "baseline"},
    )
