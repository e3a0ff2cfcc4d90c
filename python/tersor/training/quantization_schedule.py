"""When the quantizers of a network observe, round and hold still."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..torch.fake_quantize import ActivationQuantizer
from ..torch.qat import Phase, set_qat_phase
from .callback import Callback, Shared

if TYPE_CHECKING:
    from .state import TrainingState


class QuantizationSchedule(Callback):
    """Schedule of quantization-aware training: observe, quantize, settle, freeze.

    In a data-parallel run the observed ranges are averaged over the processes after every step.

    Parameters
    ----------
    observe : float, default 0.02
        Share of the steps at the beginning that only measure ranges, in [0, 1).
    freeze : float, default 0.7
        Share of the steps after which the statistics of BatchNorm are held and biases are rounded,
        in [observe, 1]. Ranges, which that moves, are held after half of the rest.

    Examples
    --------
    >>> from tersor.training import fit                                        # doctest: +SKIP
    >>> fit(prepared, data, epochs=3, callbacks=[QuantizationSchedule()])      # doctest: +SKIP
    """

    def __init__(self, observe: float = 0.02, freeze: float = 0.7) -> None:
        if not 0 <= observe < 1:
            raise ValueError(f"QuantizationSchedule: observe must be in [0, 1), got {observe}")
        if not observe <= freeze <= 1:
            raise ValueError(f"QuantizationSchedule: freeze must be in [observe, 1], got {freeze}")
        self.observe = float(observe)
        self.freeze = float(freeze)
        self._phase: Phase | None = None
        self._quantizers: list[ActivationQuantizer] = []

    def on_fit_begin(self, state: TrainingState) -> None:
        """Find the quantizers; a resumed run sets the phase at its first step."""
        self._quantizers = [
            m
            for m in state.model.modules()
            if isinstance(m, ActivationQuantizer) and m.fixed is None
        ]
        self._enter(state, "observe" if self.observe > 0 else "quantize")

    def on_step_begin(self, state: TrainingState) -> None:
        """Choose the phase by the share of the steps that are done."""
        share = state.global_step / max(state.total_steps, 1)
        if share < self.observe:
            phase: Phase = "observe"
        else:
            phase = "settle" if share >= self.freeze else "quantize"
            if share >= (1 + self.freeze) / 2:
                phase = "freeze"
        if phase != self._phase:
            self._enter(state, phase)

    def on_fit_end(self, state: TrainingState) -> None:
        """Leave the network rounding."""
        if self._phase == "observe":
            self._enter(state, "quantize")

    def shared(self) -> Iterable[Shared]:
        """Return the ranges while they move."""
        if self._phase == "freeze":
            return
        for quantizer in self._quantizers:
            yield Shared(quantizer.lo, "mean")
            yield Shared(quantizer.hi, "mean")
            if quantizer.learned:
                yield Shared(quantizer.scale.data, "mean")
                yield Shared(quantizer.zero_point.data, "mean")

    def _enter(self, state: TrainingState, phase: Phase) -> None:
        set_qat_phase(state.model, phase)
        self._phase = phase


__all__ = ["QuantizationSchedule"]
