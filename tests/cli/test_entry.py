"""Exit codes, help, and one sentence for everything that a user can get wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

import tersor
from tersor.cli import entry

COMMANDS = ("demo", "compress", "compare", "inspect", "bench")


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
    assert "usage: tersor" in result.err


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
