"""The model against published results, hand-worked values and its own monotony."""

import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.targets import LayerCost, Target, model_energy, model_latency

RESNET8 = [LayerCost("all", 12_500_000, 78_000, 300_000, "int8")]


# MLPerf Tiny v1.0, NUCLEO-H7A3ZI-Q: network, MACs, weights, activations, layers, inferences/s.
PUBLISHED = [
    ("ResNet-8", 12_500_000, 78_000, 300_000, 16, 18.401),
    ("DS-CNN", 2_660_000, 24_000, 140_000, 13, 59.667),
    ("MobileNetV1", 7_490_000, 220_000, 1_200_000, 30, 19.722),
    ("autoencoder", 264_000, 270_000, 4_000, 10, 547.705),
]


@pytest.mark.parametrize(
    ("name", "macs", "weights", "activations", "layers", "rate"),
    PUBLISHED,
    ids=[row[0] for row in PUBLISHED],
)
def test_mcu_is_near_the_published_runs_that_it_cites(
    name, macs, weights, activations, layers, rate
):
    layer = LayerCost(name, macs // layers, weights // layers, activations // layers, "int8")
    latency = model_latency(Target.load("mcu"), [layer] * layers).value
    assert 1 / 1.3 < latency * rate < 1.3


def test_mcu_energy_is_the_published_power():
    assert model_energy(Target.load("mcu"), 1 / 18.443).value == pytest.approx(8.707e-3, rel=0.01)


def test_a_hand_worked_layer():
    edge = Target.load("edge")
    computing = LayerCost("conv", 38_400_000, 0, 0, "int8")  # 38.4e6 / (32 * 0.5 * 2.4e9) = 1 ms
    moving = LayerCost("dense", 1, 8_000_000, 0, "int8")  # 8e6 / (8 * 2**30)
    assert model_latency(edge, [computing]).value == pytest.approx(1e-3 + 5e-6, rel=1e-12)
    assert model_latency(edge, [computing], threads=4).value == pytest.approx(
        0.25e-3 + 5e-6, rel=1e-12
    )
    assert (
        model_latency(edge, [computing], threads=99).value
        == model_latency(edge, [computing], threads=4).value
    )
    assert model_latency(edge, [moving]).value == pytest.approx(8e6 / (8 * 2**30) + 5e-6, rel=1e-12)
    both = model_latency(edge, [computing, moving]).value
    assert both == pytest.approx(1e-3 + 8e6 / (8 * 2**30) + 10e-6, rel=1e-12)


def test_instructions_by_kind_go_before_the_rate():
    target = Target.load("stm32l4r5")
    model = target.latency_model
    for kind, count in model.instructions_per_mac.items():
        layer = LayerCost("a", 10**7, 0, 0, "int8", kind)
        wanted = 10**7 * count * model.cycles_per_instruction / target.clock_hz
        assert model_latency(target, [layer]).value == pytest.approx(
            wanted + model.overhead_per_layer_s
        )
        assert kind in model_latency(target, [layer]).formula
    other = LayerCost("a", 10**7, 0, 0, "int8")
    wanted = 10**7 / (model.macs_per_cycle["int8"] * target.clock_hz)
    assert model_latency(target, [other]).value == pytest.approx(wanted + 10e-6)
    again = pickle.loads(pickle.dumps(target))
    assert again == target
    with pytest.raises(ValueError, match="kind must be one of conv, pointwise, depthwise, dense"):
        LayerCost("a", 1, 1, 1, "int8", "attention")


def test_estimates_say_what_they_are():
    estimate = model_latency(Target.load("mcu"), RESNET8)
    assert estimate.label == "modelled"
    assert "280 MHz" in estimate.formula
    assert "MLPerf Tiny" in estimate.source
    assert (
        model_energy(Target.load("cloud"), 1.0, threads=2).formula == "8.75 W x 2 core(s) x latency"
    )
    assert model_energy(Target.load("cloud"), 1.0, threads=2).value == 17.5


def test_unknown_format_counts_as_fp32():
    slow = dataclasses.replace(RESNET8[0], format="bf16")
    fp32 = dataclasses.replace(RESNET8[0], format="fp32")
    mcu = Target.load("mcu")
    assert model_latency(mcu, [slow]).value == model_latency(mcu, [fp32]).value


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["cloud", "edge", "mcu"]))
def test_more_work_never_takes_less_time(macs, more, name):
    target = Target.load(name)
    little = model_latency(target, [LayerCost("a", macs, 10, 10, "int8")]).value
    much = model_latency(target, [LayerCost("a", macs + more, 10, 10, "int8")]).value
    assert 0 < little <= much


def test_refusals():
    mcu = Target.load("mcu")
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        model_latency(mcu, RESNET8, threads=0)
    with pytest.raises(ValueError, match="latency_s must be finite"):
        model_energy(mcu, float("nan"))
    with pytest.raises(ValueError, match="threads must be at least 1"):
        model_energy(mcu, 1.0, threads=0)
    with pytest.raises(ValueError, match="format must be one of"):
        LayerCost("a", 1, 1, 1, "int9")
    with pytest.raises(ValueError, match="must not be negative"):
        LayerCost("a", -1, 1, 1)
