"""Energy counters, on files that look like Linux's."""

import pytest

from tersor.targets import open_energy_meter


class Package:
    def __init__(self, folder, name, kind="package-0", limit=1_000_000, start=900_000):
        self.place = folder / name
        self.place.mkdir(parents=True)
        (self.place / "name").write_text(f"{kind}\n")
        (self.place / "max_energy_range_uj").write_text(f"{limit}\n")
        self.limit, self.value = limit, start
        self.add(0)

    def add(self, microjoules):
        self.value = (self.value + microjoules) % (self.limit + 1)
        (self.place / "energy_uj").write_text(f"{self.value}\n")


def test_rapl_adds_packages_and_wraps(tmp_path):
    first = Package(tmp_path, "intel-rapl:0")
    second = Package(tmp_path, "intel-rapl:1", "package-1", start=0)
    Package(tmp_path, "intel-rapl:0:0", "core", start=5)
    Package(tmp_path, "intel-rapl:2", "psys", start=5)
    meter = open_energy_meter(folder=tmp_path)
    assert "2 processor package(s)" in meter.source

    def run():
        first.add(60_000)
        second.add(40_000)

    times = iter(range(100))
    energy = meter.measure(run, seconds=4, clock=lambda: next(times))
    assert (energy.calls, energy.seconds) == (4, 1.0)
    assert energy.joules == pytest.approx(0.1)


def test_no_counter_is_none(tmp_path):
    assert open_energy_meter(folder=tmp_path) is None
    assert open_energy_meter(folder=tmp_path / "none") is None
    package = Package(tmp_path, "intel-rapl:0")
    (package.place / "energy_uj").write_text("no number")
    assert open_energy_meter(folder=tmp_path) is None


def test_gpu_is_read_or_none():
    meter = open_energy_meter("gpu")
    assert meter is None or meter.read() > 0


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="device must be cpu or gpu, got 'tpu'"):
        open_energy_meter("tpu")
    Package(tmp_path, "intel-rapl:0")
    with pytest.raises(ValueError, match="seconds must be finite and above 0, got 0"):
        open_energy_meter(folder=tmp_path).measure(lambda: None, seconds=0)
