"""tersor.base.isa and the kernel tables: levels, TERSOR_ISA, messages."""

import os
import subprocess
import sys

import pytest

import tersor
from tersor import _core


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_levels_start_at_baseline():
    levels = tersor.supported_isas()
    assert levels[0] == "baseline"
    known = ["baseline", "avx2", "avxvnni", "avx512", "avx512vnni", "neon", "neondot"]
    assert [level for level in known if level in levels] == levels


def test_force_isa_changes_the_features(isa):
    assert tersor.active_isa() == isa
    features = _core.base.active_features()
    assert set(features) <= set(_core.base.cpu_features())
    assert (isa == "baseline") == (features == [])


def test_default_is_the_best_level():
    result = run("import tersor; print(tersor.active_isa())", TERSOR_ISA="")
    assert result.stdout.strip() == tersor.supported_isas()[-1]


@pytest.mark.parametrize("level", tersor.supported_isas())
def test_environment_chooses_the_level(level):
    result = run("import tersor; print(tersor.active_isa())", TERSOR_ISA=level)
    assert result.stdout.strip() == level


def test_environment_names_an_unknown_level():
    code = """
import tersor  # importing works, using does not
from tersor.quantization import quantize_affine
for use in (tersor.active_isa, tersor.show_config, lambda: quantize_affine([1.0], 1)):
    try:
        use()
    except ValueError as e:
        print(e)
"""
    result = run(code, TERSOR_ISA="avx9")
    lines = result.stdout.splitlines()
    assert len(lines) == 3, result.stderr
    for line in lines:
        assert line.startswith("TERSOR_ISA: instruction set must be one of {baseline")
        assert "got 'avx9'" in line


def test_force_isa_rejects():
    with pytest.raises(ValueError, match=r"force_isa: instruction set must be one of \{baseline"):
        tersor.force_isa("sse9")
    with pytest.raises(TypeError, match="force_isa: name must be text, got 3"):
        tersor.force_isa(3)
    missing = {"neon", "avx2"} - set(tersor.supported_isas())
    with pytest.raises(ValueError, match=r"on this CPU, got"):
        tersor.force_isa(missing.pop())


def test_every_operation_has_a_reference(isa):
    rows = _core.base.kernels()
    operations = {(r["room"], r["op"]) for r in rows}
    assert ("quantization", "quantize_affine") in operations
    for room, op in operations:
        mine = [r for r in rows if (r["room"], r["op"]) == (room, op)]
        assert mine[-1]["variant"] == "ref"
        assert mine[-1]["needed"] == []
        assert sum(r["active"] for r in mine) == 1
        active = next(r for r in mine if r["active"])
        assert set(active["needed"]) <= set(_core.base.active_features())
        # Best first: nothing before the active row could have run.
        for row in mine[: mine.index(active)]:
            assert not set(row["needed"]) <= set(_core.base.active_features())
