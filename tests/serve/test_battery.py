"""Battery life: energies by hand."""

import json
import math

import pytest

from tersor.serve import Battery, duty_cycle

CELL = Battery(1000, 3.0, usable=1.0, self_discharge=0)  # 10,800 J


def test_energies_add_up():
    life = duty_cycle(
        CELL,
        every="10 s",
        inference="8 mJ",
        inference_time="1 s",
        sleep="10 uW",
        sense="1 mJ",
        message_bytes=20,
        message_share="10 %",
        radio_wake="5 mJ",
        radio_per_byte="0.1 mJ",
        update_bytes=10_000,
        update_every_days=10,
    )
    runs = 8640
    wanted = {
        "sleep": 10e-6 * 86400 * 0.9,
        "sense": 1e-3 * runs,
        "inference": 8e-3 * runs,
        "messages": 7e-3 * 0.1 * runs,
        "updates": (5e-3 + 1.0) / 10,
        "self-discharge": 0.0,
    }
    assert dict(life.energy_per_day_j) == pytest.approx(wanted)
    total = sum(wanted.values())
    assert life.average_w == pytest.approx(total / 86400)
    assert life.days == pytest.approx(10_800 / total)
    assert life.awake == pytest.approx(0.1)
    assert life.label == "modelled"
    document = life.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert "inference" in str(life.table())


def test_usable_share_and_self_discharge():
    cell = Battery(100, 2.0, usable="50 %", self_discharge="10 %")
    assert cell.energy_j == pytest.approx(360)
    life = duty_cycle(cell, every="1 h", inference=0, sleep=0)
    assert life.days == pytest.approx(0.5 * 365.25 / 0.1)


def test_a_smaller_network_lasts_longer_by_its_updates():
    def days(size):
        common = {"every": "1 min", "inference": "1 mJ", "sleep": "2 uW"}
        radio = {"radio_per_byte": "20 uJ", "update_every_days": 7}
        return duty_cycle(CELL, **common, **radio, update_bytes=size).days

    assert days("80 KB") > days("350 KB") > days("1 MB")
    assert duty_cycle(CELL, every="1 s", inference=0, sleep=0).days == math.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": "0 s"}, "every must be above 0"),
        ({"inference_time": "2 s"}, "inference_time must be at most every"),
        ({"update_every_days": 0}, "update_every_days must be above 0"),
        ({"sleep": "10"}, "no unit"),
        ({"message_share": 2}, r"share in \[0, 1\]"),
    ],
)
def test_arguments_are_checked(change, message):
    arguments = {"every": "1 s", "inference": "1 mJ", "sleep": "1 uW", **change}
    with pytest.raises(ValueError, match=message):
        duty_cycle(CELL, **arguments)


@pytest.mark.parametrize("bad", [{"capacity_mah": 0}, {"volts": -1}, {"usable": 0}])
def test_batteries_are_checked(bad):
    with pytest.raises(ValueError, match="must be above 0"):
        Battery(**{"capacity_mah": 1, "volts": 1, **bad})
