"""A budget of RAM and flash: the C code on an emulated Cortex-M4 that has no more memory."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tersor
from tersor.cli import main
from tersor.exporters import EmulatedModel, HostModel, emulated_model
from tests import datasets
from tests.codegen import boards

RAM, FLASH = 40 * 1024, 100 * 1024


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Training images as ResNet-8 takes them, and their file."""
    x = datasets.cifar10("train").x[:64].astype(np.float32)
    path = tmp_path_factory.mktemp("samples") / "x.npz"
    np.savez(path, x=x)
    return x, path


def compress(samples, output, budget, *options):
    network = datasets.find("models/resnet8-cifar10-float.tflite")
    limits = ("--target", "stm32l4r5", "--budget", budget)
    command = ("compress", network, *limits, "--calibration", samples[1], "-o", output, *options)
    return main([str(part) for part in command])


def test_c_code_fits_the_memory_that_was_asked_for(samples, tmp_path, monkeypatch):
    core = boards.require("m4")
    folder, path = tmp_path / "c", tmp_path / "r.tersor"
    assert compress(samples, path, "ram=40KB,flash=100KB", "--c", folder) == 0
    # The linker gets a board with that much memory; its stack ends where the arena begins.
    board = replace(emulated_model._BOARDS[core], ram_bytes=RAM, flash_bytes=FLASH)
    monkeypatch.setitem(emulated_model._BOARDS, core, board)
    emulated = EmulatedModel(folder, core)
    codes = emulated.inputs[0].codes(samples[0][:2])
    found = emulated.emulate(codes)
    (wanted,) = HostModel(folder).run(codes)
    np.testing.assert_array_equal(found.outputs[0], wanted)
    assert found.ram_bytes <= RAM
    assert found.flash_bytes <= FLASH
    float_top = tersor.Session(tersor.load(datasets.find("models/resnet8-cifar10-float.tflite")))
    agree = float_top(samples[0]).argmax(1) == tersor.Session(tersor.load(path))(samples[0]).argmax(
        1
    )
    assert agree.mean() >= 0.9


@pytest.mark.parametrize(
    ("budget", "texts"),
    [
        (
            "ram=40KB,flash=30KB",
            [r"flash is .* KB \(modelled\), limit 30.0 KB: .* KB or .* % too much",
             r"  flash: layer \S+ binds: ", r"  what would fit: ram=40KB,flash=[\d.]+KB"],
        ),
        (
            "ram=2KB,flash=100KB",
            [r"ram is .* KB \(modelled\), limit 2.00 KB: .* KB or .* % too much",
             r"  ram: layer \S+ binds: .* are alive there", r"  what would fit: ram=[\d.]+KB"],
        ),
    ],
)  # fmt: skip
def test_an_impossible_budget_explains_itself(samples, tmp_path, capsys, budget, texts):
    path = tmp_path / "r.tersor"
    assert compress(samples, path, budget, "--c", tmp_path / "c") == 3
    said = capsys.readouterr().err
    for text in texts:
        assert re.search(text, said), said
    assert not path.exists()
    assert not (tmp_path / "c").exists()
