"""Exit codes, help, and one sentence for everything that a user can get wrong."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import tersor
from tersor.cli import entry
from tests.datasets import ROOT

GOLDEN = str(ROOT / "tests" / "artifact" / "golden" / "version-1.0.tersor")
COMMANDS = ("demo", "compress", "compare", "advise", "inspect", "bench")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, run):
    result = run(command, "--help")
    assert result.code == 0
    assert f"usage: tersor {command}" in result.out
    assert "--json" in result.out


def test_help_names_the_commands_and_exit_codes(run):
    result = run("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert f"\n    {command} " in result.out
    assert "3 budget not met" in result.out
    assert run("--version").out.strip() == f"tersor {tersor.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [[], ["bench"], ["nothing"], ["bench", "digits", "--runs", "0"], ["bench", "digits", "--x"]],
)
def test_wrong_arguments(arguments, run):
    result = run(*arguments)
    assert result.code == 2
    assert result.err.startswith("tersor: ")
    assert "usage" not in result.err
    assert re.fullmatch(r".*\(see 'tersor( bench)? --help'\)\n", result.err)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def broken_onnx(path):
    path.write_bytes(b"\x00garbage" * 20)
    return path


def user_errors(folder):
    """Command lines and the sentences that they end in."""
    nan = save(folder / "nan.npz", x=np.full((4, 1, 8, 8), np.nan, np.float32))
    empty = save(folder / "empty.npz", x=np.zeros((0, 1, 8, 8), np.float32))
    shape = save(folder / "shape.npz", x=np.zeros((4, 8, 9, 1), np.uint8))
    broken = broken_onnx(folder / "broken.onnx")
    return {
        "wrong path": (["bench", "no.onnx"], "no.onnx"),
        "wrong suffix": (["bench", "no.xyz"], "path must end in"),
        "broken network": (["inspect", broken], "broken.onnx"),
        "wrong data path": (["compare", "digits", "--data", "no.npz"], "data not found: no.npz"),
        "wrong shape": (["compare", "digits", "--data", shape], "has shape"),
        "empty set": (["compare", "digits", "--data", empty], "is empty"),
        "not a number": (["compare", "digits", "--data", nan], "has NaN, first in row 0"),
        "unknown target": (
            ["compare", "digits", "--target", "egde"],
            "unknown target 'egde' (did you mean 'edge'?)",
        ),
        "unknown budget line": (
            ["compare", "digits", "--target", "edge", "--budget", "sise=1KB"],
            "did you mean 'size'",
        ),
        "budget without unit": (
            ["compare", "digits", "--target", "edge", "--budget", "latency=5"],
            "no unit",
        ),
        "budget without target": (
            ["compare", "digits", "--budget", "size=1KB"],
            "needs a --target",
        ),
        "unknown split": (
            ["compare", "digits", "--data", shape, "--data-split", "test"],
            "has no splits",
        ),
        "name twice": (["compare", "digits", "digits"], "given twice"),
        "wrong preprocess": (
            ["compare", "digits", "--preprocess", "no.yaml"],
            "preprocess file not found: no.yaml",
        ),
    }


def test_user_errors_are_one_sentence(run, tmp_path):
    for name, (arguments, sentence) in user_errors(tmp_path).items():
        result = run(*arguments)
        assert result.code == 2, name
        assert sentence in result.err, name
        assert result.err.startswith("tersor: "), name
        assert result.err.count("\n") == 1, name
        assert "Traceback" not in result.err, name
        assert result.out == "", name


def test_errors_as_json(run):
    result = run("bench", "no.onnx", "--json")
    error = result.json()["error"]
    assert result.code == error["exit_code"] == 2
    assert "no.onnx" in error["message"]
    assert error["type"] == "FileNotFoundError"


def test_traceback_on_request():
    with pytest.raises(FileNotFoundError):
        entry.main(["bench", "no.onnx", "--traceback"])


def test_defects_show_their_traceback(monkeypatch):
    def defect(options):
        raise RuntimeError("a defect")

    monkeypatch.setattr(entry, "build_parser", lambda: _Fixed(defect))
    with pytest.raises(RuntimeError, match="a defect"):
        entry.main([])


class _Fixed:
    """A parser whose command is given."""

    def __init__(self, run):
        self._run = run

    def parse_args(self, arguments):
        return type(
            "Options", (), {"run": staticmethod(self._run), "json": False, "traceback": False}
        )


def test_interrupt(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "build_parser", lambda: _Fixed(interrupted))
    assert entry.main([]) == 130
    assert capsys.readouterr().err == "tersor: interrupted\n"


def test_warnings_are_one_line(monkeypatch, capsys):
    import warnings

    def warned(options):
        warnings.warn("a layer\n lost", stacklevel=1)

    monkeypatch.setattr(entry, "build_parser", lambda: _Fixed(warned))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert entry.main([]) == 0
    assert capsys.readouterr().err == "tersor: warning: a layer lost\n"


def test_an_unknown_operator_is_named_with_its_node(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Hardmax", ["x"], ["y"], name="strange")
    ends = [helper.make_tensor_value_info(name, floats, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    path = tmp_path / "n.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    result = run("inspect", path)
    assert result.code == 2
    first, *operators = result.err.splitlines()
    assert "Hardmax" in first
    assert "strange" in first
    assert len(operators) > 3
    assert all(line.startswith("  ") and len(line) <= 100 for line in operators)


@pytest.mark.parametrize("command", [["bench", "digits", "--runs", "1"], ["inspect", GOLDEN]])
def test_an_unknown_instruction_set_is_a_user_error(command):
    command = [sys.executable, "-m", "tersor", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "TERSOR_ISA": "avx9"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("tersor: TERSOR_ISA: instruction set must be one of {baseline")
    assert "got 'avx9'" in done.stderr
    assert done.stderr.count("\n") == 1


# Says when the loop that is to be interrupted has begun.
ENDLESS = """
import sys
import tersor.report.measure as measure
timed = measure.measure_latency
def begin(*arguments, **options):
    print("started", file=sys.stderr, flush=True)
    return timed(*arguments, **options)
measure.measure_latency = begin
from tersor.cli import main
sys.exit(main(["bench", "digits", "--runs", "1000000000"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_is_code_130():
    # A job in the background inherits an ignored SIGINT; a user's terminal does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = [sys.executable, "-c", ENDLESS]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "tersor: interrupted\n"


def test_as_a_module():
    command = [sys.executable, "-m", "tersor", "bench", "digits", "--runs", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["latency"]["runs"] == 2
    failed = subprocess.run([*command[:4], "no.onnx"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


def test_a_closed_pipe_is_quiet():
    script = f"{sys.executable} -m tersor inspect digits --json | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
