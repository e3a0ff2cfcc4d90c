"""Cloud, device, or both: modelled latencies beside formulas."""

import json
import math

import numpy as np
import pytest

from tersor.serve import Cascade, CascadeFigures, Link, compare_placements
from tersor.zoo import load_digits_network

FIGURES = CascadeFigures(0.5, 1000, 0.25, 0.9, 0.8, 0.9, 0.5, 0.9, 0.97, 1e6, 2e6)
TIMES = {"edge_small": "5 ms", "edge_large": "30 ms", "cloud_large": "1 ms"}


@pytest.fixture(scope="module")
def cascade():
    return Cascade(load_digits_network(), load_digits_network(), threshold=0.5)


def test_round_trips_have_the_mean_and_deviation():
    times = Link("40 ms", jitter="10 ms").draw(np.random.default_rng(0), 200_000)
    assert times.mean() == pytest.approx(0.040, rel=2e-3)
    assert times.std() == pytest.approx(0.010, rel=2e-2)
    assert times.min() > 0


def test_lost_requests_are_sent_again_later_each_time():
    link = Link("10 ms", loss="10 %", retry_after="100 ms", bandwidth="1 kB/s")
    times = link.draw(np.random.default_rng(0), 200_000, 20)
    waits = np.round((times - 0.030) / 0.1).astype(float)
    for value, share in [(0, 0.9), (1, 0.09), (3, 0.009)]:
        assert (waits == value).mean() == pytest.approx(share, rel=0.1)
    lost = Link("10 ms", loss=0.9).draw(np.random.default_rng(0), 100_000)
    assert np.isinf(lost).mean() == pytest.approx(0.9**6, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"round_trip": "30"}, "no unit"),
        ({"round_trip": "30 ms", "loss": 1.0}, "loss must be below 1"),
        ({"round_trip": 0, "jitter": "1 ms"}, "jitter must be 0"),
        ({"round_trip": 1, "bandwidth": 0}, "bandwidth must be above 0"),
    ],
)
def test_links_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Link(**arguments)


def test_without_chance_the_times_are_sums(cascade):
    found = compare_placements(
        cascade, FIGURES, link=Link("40 ms", bandwidth="10 kB/s"), times=TIMES, request_bytes=50
    )
    assert found["cloud"].median_s == pytest.approx(0.046)
    assert found["edge"].p99_s == pytest.approx(0.030)
    assert found["edge cascade"].median_s == pytest.approx(0.005)
    assert found["edge cascade"].p99_s == pytest.approx(0.035)
    assert found["hybrid"].median_s == pytest.approx(0.005)
    # 5 + 40 + 5 + 1 ms miss 50 ms: the small network's answer counts then.
    assert found["hybrid"].p99_s == pytest.approx(0.050)
    assert found["hybrid"].fallback == pytest.approx(0.25, abs=0.005)
    assert found["hybrid"].misses == 0
    # 0.9 - 0.25 x (0.9 - 0.5) where the small network answers all.
    assert found["hybrid"].accuracy == pytest.approx(0.8)
    assert found["cloud"].accuracy == pytest.approx(0.9)
    assert {row.label for row in found.rows} == {"modelled"}


def test_deadlines_missed(cascade):
    found = compare_placements(
        cascade, FIGURES, link="40 ms", deadline="20 ms", times=TIMES, samples=10_000
    )
    assert found["cloud"].misses == found["edge"].misses == 1
    assert found["cloud"].accuracy == found["edge"].accuracy == 0
    assert found["edge cascade"].misses == pytest.approx(0.25, abs=0.02)
    # Samples that the small network keeps: 0.9 - 0.25 x 0.9.
    assert found["edge cascade"].accuracy == pytest.approx(0.675)
    assert found["hybrid"].accuracy == pytest.approx(0.8)
    assert found.best.name == "hybrid"
    nothing = compare_placements(
        cascade, FIGURES, link="40 ms", deadline="4 ms", times=TIMES, samples=100
    )
    assert [row.accuracy for row in nothing.rows] == [0, 0, 0, 0]
    assert [row.misses for row in nothing.rows] == [1, 1, 1, 1]


def test_a_bad_link_costs_the_cloud_and_hardly_the_hybrid(cascade):
    link = Link("30 ms", jitter="15 ms", loss="2 %")
    found = compare_placements(cascade, FIGURES, link=link, times=TIMES)
    assert 0.05 < found["cloud"].misses < 0.2
    assert found["hybrid"].misses == 0
    assert found["hybrid"].fallback < 0.25 * 0.3
    assert found["hybrid"].accuracy > found["cloud"].accuracy
    assert found["hybrid"].sent == pytest.approx(0.25, abs=0.005)
    same = compare_placements(cascade, FIGURES, link=link, times=TIMES)
    assert same == found
    other = compare_placements(cascade, FIGURES, link=link, times=TIMES, seed=1)
    assert other["cloud"] != found["cloud"]


def test_times_are_modelled_where_none_are_given(cascade):
    found = compare_placements(cascade, 0.1, link="30 ms", edge="mcu", samples=1000)
    assert found.sources["edge_large"].startswith("mcu: ")
    assert found.times_s["edge_large"] > found.times_s["cloud_large"] > 0
    assert [row.accuracy for row in found.rows] == [None] * 4
    assert "modelled, deadline 50.0 ms" in str(found.table())


def test_plain_data_is_json(cascade):
    link = Link("30 ms", loss=0.9)
    document = compare_placements(cascade, FIGURES, link=link, times=TIMES).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["placements"][0]["p99_s"] is None
    assert compare_placements(cascade, FIGURES, link=link)["cloud"].p99_s == math.inf
    assert "never" in str(compare_placements(cascade, FIGURES, link=link).table())


def test_arguments_are_checked(cascade):
    with pytest.raises(ValueError, match=r"share in \[0, 1\], got 1.5"):
        compare_placements(cascade, 1.5, link="30 ms")
    with pytest.raises(ValueError, match="unknown key 'edge_smal'"):
        compare_placements(cascade, 0.5, link="30 ms", times={"edge_smal": 1})
    with pytest.raises(KeyError):
        compare_placements(cascade, 0.5, link="30 ms", samples=10)["moon"]
