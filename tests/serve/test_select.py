"""Tiers of variants: what each device gets, and why not more."""

import json
from dataclasses import replace

import pytest

import tersor
from tersor import serve
from tersor.zoo import load_digits_data, load_digits_network


@pytest.fixture(scope="module")
def variants():
    network, images = load_digits_network(), load_digits_data("calibration")
    tiers = {
        name: tersor.compress(network, recipe=name, calibration=images, progress=False)
        for name in ("int8", "fp16")
    }
    return {**tiers, "fp32": network}


def test_the_last_tier_that_fits_is_chosen(variants):
    assert serve.select(variants, "mcu").name == "int8"
    found = serve.select(variants, "edge")
    assert found.name == "fp32"
    assert found.model is variants["fp32"]
    assert found.chosen.fits
    source = "measured" if tersor.Target.load("edge").runs_here() else "modelled"
    assert {c.figures.latency_source for c in found.candidates} == {source}


def test_the_most_accurate_one_is_chosen_and_of_equals_the_fastest(variants):
    accuracy = {"int8": 0.97, "fp16": 0.99, "fp32": 0.98}
    assert serve.select(variants, "edge", accuracy=accuracy).name == "fp16"
    same = dict.fromkeys(variants, 0.9)
    assert serve.select(variants, "edge", accuracy=same).name == "int8"
    measured = serve.select(variants, "edge", data=load_digits_data())
    assert all(0.98 < c.accuracy <= 1 for c in measured.candidates)


def test_budgets_hold_beside_the_profile(variants):
    small = serve.select(variants, "edge", budget="size=40KB")
    assert small.name == "int8"
    assert "size is" in small.candidates[2].reasons[0]
    accuracy = {"int8": 0.90, "fp16": 0.99, "fp32": 0.99}
    drop = serve.select(variants, "edge", budget={"accuracy_drop": "1 %"}, accuracy=accuracy)
    assert drop.name == "fp16"
    assert "accuracy_drop is" in drop.candidates[0].reasons[0]


def test_nothing_fits_and_each_variant_says_why(variants):
    with pytest.raises(tersor.BudgetError) as caught:
        serve.select(variants, "edge", budget="latency=1us")
    message = str(caught.value)
    assert "no variant fits edge" in message
    assert all(f"\n  {name}: latency is" in message for name in variants)
    assert len(caught.value.misses) == 3


def test_arithmetic_storage_and_memory_limit(variants):
    found = serve.select(variants, "stm32l4r5")
    assert found.name == "int8"
    assert found.candidates[2].figures is None
    assert found.candidates[2].reasons == ("computes in fp32, the device in int8",)
    target = tersor.Target.load("edge")
    tiny = replace(target, flash_bytes=50_000, ram_bytes=30_000)
    with pytest.raises(tersor.BudgetError, match=r"storage 48.8 KB.*the device has 29.3 KB"):
        serve.select({"fp32": variants["fp32"]}, tiny)


def test_latency_is_measured_where_this_machine_can(variants):
    target = next(name for name in ("cloud", "edge") if tersor.Target.load(name).runs_here())
    found = serve.select(variants, target)
    assert found.chosen.figures.latency_source == "measured"
    assert found.chosen.figures.ram_bytes > 0


def test_plain_data_and_table(variants):
    found = serve.select(variants, "rp2040", accuracy={"int8": 0.9, "fp16": 1, "fp32": 1})
    document = found.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["chosen"] == "int8"
    text = str(found.table())
    assert "rp2040: int8" in text
    assert "computes in fp32" in text


def test_arguments_are_checked(variants):
    with pytest.raises(ValueError, match="at least one network"):
        serve.select({}, "edge")
    with pytest.raises(ValueError, match="'fp16' is missing"):
        serve.select(variants, "edge", accuracy={"int8": 1.0})
    with pytest.raises(ValueError, match="data must have labels"):
        serve.select(variants, "edge", data=load_digits_data().x)
