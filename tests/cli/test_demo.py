"""``tersor demo``: three networks and a report from nothing but the package."""

import json
import subprocess
import sys

import tersor
from tersor.exporters.emulated_model import missing_tools
from tersor.zoo import load_digits_data

BLOCK_EXTRAS = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    names = {"torch", "onnx", "onnx_ir", "keras", "sklearn", "PIL", "matplotlib", "jinja2"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from tersor.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_demo(run, tmp_path):
    result = run("demo", "-o", tmp_path / "out")
    assert result.code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    page = (tmp_path / "out" / "report.html").read_text()
    base, *rest = report["variants"]
    assert [variant["name"] for variant in rest] == ["cloud", "edge", "mcu"]
    assert [variant["recipe"] for variant in rest] == ["bf16", "int8", "int8"]
    for variant in rest:
        assert base["accuracy"] - variant["accuracy"] <= 0.01
        assert variant["size_bytes"] < 0.6 * base["size_bytes"]
        assert variant["on_target"]["misses"] == []
        path = tmp_path / "out" / f"{variant['name']}.tersor"
        assert path.stat().st_size == variant["size_bytes"]
    assert "Handwritten digits at three scales" in page
    for text in ("cloud", "edge", "mcu", "~ modelled"):
        assert text in result.out
    *_, last = result.out.split("Handwritten digits at three scales: ")
    assert last.startswith("side by side")
    for row in ("accuracy", "latency", "memory", "energy of one inference", "power while it runs"):
        assert row in last
    run = rest[2]["on_target"]["emulated"]
    if missing_tools("cortex-m7"):
        assert "must be installed" in run["reason"]
    else:
        assert run["identical"] == run["samples"] > 0
        assert rest[2]["on_target"]["ram"]["source"] == "emulated"
        assert f"{run['instructions']:,}" in last
    assert len(report["sensitivity"]["effects"]) > 10
    assert "Sensitivity of the layers" in page
    session = tersor.Session(tersor.load(tmp_path / "out" / "mcu.tersor"), arithmetic="exact")
    x = load_digits_data().x[:8].transpose(0, 3, 1, 2) / 16
    assert session(x).shape == (8, 10)


def test_demo_needs_the_base_install_only(tmp_path):
    command = [sys.executable, "-c", BLOCK_EXTRAS, "demo", "-o", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["variants"]) == 4
