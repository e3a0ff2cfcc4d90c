"""The figures of one variant of a network, measured here and modelled for its target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..targets.budget import Budget, Miss
from ..targets.energy_meter import Energy
from .file_parts import FileParts
from .intervals import Interval
from .losses import Losses
from .measure import Latency
from .on_emulator import EmulatedRun
from .weight_histograms import WeightHistogram


@dataclass(frozen=True)
class TargetFigures:
    """What a variant costs on a target.

    Attributes
    ----------
    target : str
        Name of the target.
    latency_s, energy_j : float
        Seconds and joules of one inference.
    ram_bytes : int
        Bytes of activations, and of weights where the target loads them to memory.
    latency_source, ram_source, energy_source : str
        ``"measured"``, ``"modelled"``, or for memory ``"emulated"``: measured in generated C on an
        emulated core.
    latency_formula, energy_formula : str
        How modelled figures were computed; empty for measured ones.
    sources : tuple of str
        Where the constants of the models come from.
    budget : Budget
        What had to hold.
    misses : tuple of Miss
        What did not.
    emulated : EmulatedRun or None
        What generated C did on the target's core; None where it was not asked for.
    flash_bytes : int or None
        Bytes of generated C on a microcontroller: weights, tables and code; elsewhere of the file.
    """

    target: str
    latency_s: float
    energy_j: float
    ram_bytes: int
    latency_source: str
    ram_source: str
    energy_source: str = "modelled"
    latency_formula: str = ""
    energy_formula: str = ""
    sources: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)
    misses: tuple[Miss, ...] = ()
    emulated: EmulatedRun | None = None

    @property
    def power_w(self) -> float | None:
        """Watts while the network runs: energy over latency."""
        return self.energy_j / self.latency_s if self.latency_s > 0 else None

    flash_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return {
            "target": self.target,
            "latency": {
                "seconds": self.latency_s,
                "source": self.latency_source,
                "formula": self.latency_formula,
            },
            "energy": {
                "joules": self.energy_j,
                "source": self.energy_source,
                "formula": self.energy_formula,
            },
            "ram": {"bytes": self.ram_bytes, "source": self.ram_source},
            "emulated": None if self.emulated is None else self.emulated.to_dict(),
            "sources": list(self.sources),
            "budget": self.budget.to_dict(),
            "misses": [
                {
                    "line": miss.line,
                    "limit": miss.limit,
                    "actual": miss.actual,
                    "source": miss.source,
                }
                for miss in self.misses
            ],
        }


@dataclass(frozen=True)
class Variant:
    """The figures of one variant.

    Attributes
    ----------
    name : str
        As the user called it.
    recipe : str
        What was done to it, ``"fp32"`` for a plain graph.
    size_bytes : int
        Of the saved file.
    parameters, macs : int
        Values in constants, and multiply-accumulates of one sample.
    latency : Latency
        Measured here, batch 1.
    throughput : Latency or None
        Measured here at a larger batch.
    peak_memory_bytes : int
        Packed weights, activations and scratch memory of the session at batch 1.
    accuracy : float or None
        Top-1, share in [0, 1]; None without labels.
    agreement : float or None
        Share of samples with the baseline's top-1 class; None without data.
    sqnr_db : float or None
        Signal-to-noise ratio of the outputs against the baseline's; None for the baseline itself.
    on_target : TargetFigures or None
    sparsity : float or None
        Share of the weights that are 0, in [0, 1]; None where it was not counted.
    losses : Losses or None
        Which layers lose most; None where nothing was noted.
    accuracy_interval : Interval or None
        Bootstrap interval of the accuracy.
    change_interval : Interval or None
        Bootstrap interval of the difference to the baseline's accuracy, in pairs; None for the
        baseline itself.
    file : FileParts or None
        Bytes of the saved file by part, and its hash.
    compress_seconds : float or None
        What `tersor.compress` took, as it noted; None for a plain graph.
    energy : Energy or None
        Measured here at batch 1; None where no counter can be read.
    weights : tuple of WeightHistogram
        Of the largest layers.
    """

    name: str
    recipe: str
    size_bytes: int
    parameters: int
    macs: int
    latency: Latency
    throughput: Latency | None
    peak_memory_bytes: int
    accuracy: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    on_target: TargetFigures | None = None
    losses: Losses | None = None
    sparsity: float | None = None
    accuracy_interval: Interval | None = None
    change_interval: Interval | None = None
    file: FileParts | None = None
    compress_seconds: float | None = None
    energy: Energy | None = None
    weights: tuple[WeightHistogram, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        finite = self.sqnr_db is not None and abs(self.sqnr_db) != float("inf")
        return {
            "name": self.name,
            "recipe": self.recipe,
            "size_bytes": self.size_bytes,
            "parameters": self.parameters,
            "macs": self.macs,
            "sparsity": self.sparsity,
            "latency": self.latency.to_dict(),
            "throughput": None if self.throughput is None else self.throughput.to_dict(),
            "peak_memory_bytes": self.peak_memory_bytes,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "sqnr_db": self.sqnr_db if finite else None,
            "on_target": None if self.on_target is None else self.on_target.to_dict(),
            "losses": None if self.losses is None else self.losses.to_dict(),
            "accuracy_interval": _plain(self.accuracy_interval),
            "change_interval": _plain(self.change_interval),
            "file": _plain(self.file),
            "content_hash": None if self.file is None else self.file.content_hash,
            "compress_seconds": self.compress_seconds,
            "energy": None if self.energy is None else dict(vars(self.energy)),
            "weights": [histogram.to_dict() for histogram in self.weights],
        }


def _plain(part: Interval | FileParts | None) -> dict[str, Any] | None:
    return None if part is None else part.to_dict()


__all__ = ["TargetFigures", "Variant"]
