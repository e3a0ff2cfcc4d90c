"""Quantization-aware training in the loop: phases, processes, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tersor
from tersor.torch import prepare_qat
from tersor.torch.fake_quantize import ActivationQuantizer
from tersor.training import Callback, QuantizationSchedule, evaluate, fit
from tests.small_training import PREPROCESS, images, network, quantized_run
from tests.training.test_processes import assert_equal_weights, start


class Phases(Callback):
    """What the first quantizer does at every step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, state):
        first = next(m for m in state.model.modules() if isinstance(m, ActivationQuantizer))
        self.seen.append((first.observing, first.quantizing))


def test_phases_follow_the_steps():
    model = prepare_qat(network(), "int8", torch.zeros(2, 3, 8, 8))
    phases = Phases()
    callbacks = [QuantizationSchedule(0.25, 0.5), phases]
    options = {"batch_size": 64, "learning_rate": 0.05, "preprocess": PREPROCESS}
    history = fit(model, images(), epochs=2, callbacks=callbacks, progress=False, **options)
    observe, quantize, freeze = (True, False), (True, True), (False, True)
    assert phases.seen == [observe] * 2 + [quantize] * 4 + [freeze] * 2
    assert np.isfinite(history["loss"]).all()
    data = images(seed=1)
    accuracy = evaluate(model, data, preprocess=PREPROCESS)["accuracy"]
    session = tersor.Session(tersor.from_torch(model, torch.zeros(2, 3, 8, 8)))
    logits = session(tersor.Preprocess(**PREPROCESS)(data[0]))
    assert accuracy == pytest.approx((logits.argmax(1) == data[1]).mean(), abs=1e-9)


def test_two_processes_observe_together(tmp_path):
    first, second = start("quantized", tmp_path, 2)
    assert_equal_weights(first["model"], second["model"])
    ranges = [value for name, value in first["model"].items() if name.endswith(".hi")]
    assert len(ranges) >= 3
    assert all(float(value) > 0 for value in ranges)


def test_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = quantized_run(tmp_path / "whole")
    quantized_run(tmp_path / "part", stop_after=1)
    resumed = quantized_run(tmp_path / "part", resume=True)
    assert_equal_weights(whole.state_dict(), resumed.state_dict())


def test_refusals():
    with pytest.raises(ValueError, match=r"QuantizationSchedule: observe must be in \[0, 1\)"):
        QuantizationSchedule(observe=1.0)
    with pytest.raises(ValueError, match="QuantizationSchedule: freeze must be in"):
        QuantizationSchedule(observe=0.5, freeze=0.2)
    with pytest.raises(ValueError, match="module must come from prepare_qat, got a plain one"):
        fit(
            network(),
            images(64),
            epochs=1,
            batch_size=32,
            callbacks=[QuantizationSchedule()],
            progress=False,
            preprocess=PREPROCESS,
        )
