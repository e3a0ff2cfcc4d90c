"""Profiles of the package, and the schema's refusals."""

import copy
import platform

import pytest

from tersor.base.yaml_file import format_yaml, read_yaml
from tersor.targets import Target, TargetError, target_names

MINIMAL = {
    "schema": 1,
    "name": "tiny",
    "isa": "armv7e-m",
    "cores": 1,
    "clock": "100 MHz",
    "ram": "64 KB",
    "bandwidth": {"ram": "100 MB/s"},
    "formats": ["int8"],
    "latency": {"macs_per_cycle": {"int8": 0.5}, "source": "test"},
    "power": {"active": "100 mW", "source": "test"},
}


@pytest.mark.parametrize("name", target_names())
def test_profiles_of_the_package(name):
    target = Target.load(name)
    assert target.name == name
    assert target.description
    assert target.provenance
    assert target.latency_model.source
    assert target.power_model.source
    assert set(target.formats) <= set(target.latency_model.macs_per_cycle)
    assert Target.load(target) is target


def test_target_names():
    microcontrollers = {"esp32s3", "nrf52840", "rp2040"}
    microcontrollers |= {"stm32h7a3", "stm32l4r5", "stm32u385", "stm32u575"}
    boards = {"raspberry-pi4", "raspberry-pi5", "jetson-nano", "jetson-orin-nano"}
    assert set(target_names()) == {"cloud", "edge", "mcu"} | microcontrollers | boards


def test_mcu_fits_its_flash():
    mcu = Target.load("mcu")
    assert mcu.constraints.size <= mcu.flash_bytes
    assert mcu.constraints.ram <= mcu.ram_bytes
    assert not mcu.weights_in_ram


def test_a_file_loads(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(format_yaml(MINIMAL))
    assert read_yaml(path, what="target file") == MINIMAL
    target = Target.load(path)
    assert target == Target.load(str(path)) == Target.from_dict(MINIMAL)
    assert (target.clock_hz, target.ram_bytes, target.flash_bytes) == (1e8, 65536, None)


def test_unknown_name():
    with pytest.raises(
        TargetError, match=r"unknown target 'egde' \(did you mean 'edge'\?\); known: cloud"
    ):
        Target.load("egde")
    with pytest.raises(TargetError, match=r"unknown target '\.\./cloud'"):
        Target.load("../cloud")
    with pytest.raises(TypeError, match="got int"):
        Target.load(3)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="target file not found"):
        Target.load(tmp_path / "none.yaml")


def changed(path, value):
    document = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    inner = document
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("ramm", "1 KB", r"unknown key 'ramm' \(did you mean 'ram'\?\)"),
        ("clock", None, "missing key 'clock'"),
        ("schema", 2, "schema must be 1, got 2"),
        ("isa", "x86", "isa must be one of .*did you mean 'x86-64'"),
        ("cores", 0, "cores must be a whole number of at least 1"),
        ("cores", True, "cores must be a whole number"),
        ("clock", "100", "clock: no unit"),
        ("ram", "0 KB", "ram must be above 0"),
        ("formats", ["int9"], "formats must be one of fp32, bf16, int8, got 'int9'"),
        ("formats", "int8", "formats must be a list"),
        ("name", 3, "name must be text"),
        ("weights_in_ram", "yes", "must be true or false"),
        (
            "latency.macs_per_cycle",
            {"int9": 1},
            "latency.macs_per_cycle: unknown key 'int9'.*'int8'",
        ),
        ("latency.macs_per_cycle", {"int8": float("nan")}, "latency.macs_per_cycle.int8"),
        ("latency.efficiency", 1.5, r"latency.efficiency must be a share in \[0, 1\]"),
        ("latency.source", None, "latency: missing key 'source'"),
        ("bandwidth", {"disk": "1 MB/s"}, "bandwidth: unknown key 'disk'"),
        ("power.scope", "house", "power.scope must be one of core, device"),
        ("constraints", {"sise": 1}, "budget: unknown key 'sise'"),
    ],
)
def test_schema_names_what_is_wrong(path, value, message):
    with pytest.raises(TargetError, match=f"target: .*{message}|target: {message}"):
        Target.from_dict(changed(path, value))


def test_schema_wants_a_mapping():
    with pytest.raises(TargetError, match="must be a mapping"):
        Target.from_dict([1])


def test_runs_here_follows_the_machine(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    assert Target.load("cloud").runs_here()
    assert not Target.load("edge").runs_here()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Target.load("edge").runs_here()
    assert not Target.load("mcu").runs_here()
