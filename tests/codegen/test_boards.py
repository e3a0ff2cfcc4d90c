"""Generated C on emulated microcontrollers: the host's bits, instructions, memory."""

from __future__ import annotations

import numpy as np
import pytest

from tersor.base.error import DeviceError
from tersor.exporters import EmulatedModel, HostModel
from tests.codegen import boards, models

DSP = ("m4", "m7", "m33", "m55")
FLAGS = ("-std=c99", "-O2")

# Limits on a Cortex-M4: million instructions, bytes of RAM (arena, data, stack), bytes of code.
LIMITS = {
    "resnet8": (16.5, 34 * 1024, 4 * 1024),
    "ds_cnn": (4.6, 9.2 * 1024, 4 * 1024),
    "mobilenet_v1": (14.5, 37 * 1024, 4.5 * 1024),
    "autoencoder": (0.38, 1024, 1.5 * 1024),
}
# Row by row: million instructions, bytes of RAM with the input inside, and with it brought by rows.
STREAMED = {
    "resnet8": (16.5, 17 * 1024, 16 * 1024),
    "ds_cnn": (5.2, 6 * 1024, 6 * 1024),
    "mobilenet_v1": (14.5, 28 * 1024, 15 * 1024),
}


def run(board, name, samples, **options):
    """Outputs on the host, and what was measured on the board."""
    folder = models.folder(name, "dsp" if board in DSP else "portable", **options)
    emulated = EmulatedModel(folder, boards.require(board))
    codes = emulated.inputs[0].codes(models.inputs(name, samples, seed=11))
    (want,) = HostModel(folder, flags=FLAGS).run(codes)
    return want, emulated.emulate(codes)


@pytest.mark.parametrize("name", models.NAMES)
def test_cortex_m4_keeps_its_limits(name):
    want, got = run("m4", name, 2)
    np.testing.assert_array_equal(got.outputs[0], want)
    instructions, ram, code = LIMITS[name]
    assert got.instructions < instructions * 1e6
    assert got.ram_bytes <= ram
    assert got.code_bytes <= code


@pytest.mark.parametrize("option", ["streaming", "rows_in"])
@pytest.mark.parametrize("name", STREAMED)
def test_row_by_row_keeps_its_limits(name, option):
    want, got = run("m4", name, 2, **{option: True})
    np.testing.assert_array_equal(got.outputs[0], want)
    instructions, *ram = STREAMED[name]
    assert got.instructions < instructions * 1e6
    assert got.ram_bytes <= ram[option == "rows_in"]
    assert got.code_bytes <= 6 * 1024


@pytest.mark.parametrize("board", ["microbit", "m3", "rv32"])
def test_row_by_row_on_other_boards(board):
    want, got = run(board, "ds_cnn", 2, streaming=True)
    np.testing.assert_array_equal(got.outputs[0], want)


def test_four_bit_weights_are_decoded_inside_the_loop():
    want, got = run("m4", "clustered", 2)
    np.testing.assert_array_equal(got.outputs[0], want)
    assert got.instructions < 1.6 * models.MACS["clustered"]


def test_pruned_blocks_take_no_time():
    want, got = run("m4", "pruned", 2)
    np.testing.assert_array_equal(got.outputs[0], want)
    assert got.instructions < 0.8 * models.MACS["pruned"]


@pytest.mark.parametrize("board", ["m0", "m3", "m7", "m33", "m55", "rv32"])
def test_boards_give_the_host_s_bits(board):
    want, got = run(board, "ds_cnn", 2)
    np.testing.assert_array_equal(got.outputs[0], want)


def test_microbit_runs_what_fits_into_16_kilobytes():
    want, got = run("microbit", "narrow_autoencoder", 2)
    np.testing.assert_array_equal(got.outputs[0], want)


@pytest.mark.parametrize("board", ["m0", "rv32"])
def test_portable_code_stays_within_six_instructions_a_product(board):
    want, got = run(board, "resnet8", 1)
    np.testing.assert_array_equal(got.outputs[0], want)
    assert got.instructions < 6 * models.MACS["resnet8"]


@pytest.mark.slow
@pytest.mark.parametrize("board", ["m0", "m4", "m7", "m55", "rv32"])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_hundred_inputs_are_identical(name, board):
    want, got = run(board, name, 100)
    np.testing.assert_array_equal(got.outputs[0], want)


def test_calls_give_what_the_host_gives():
    folder = models.folder("ds_cnn", "dsp")
    x = models.inputs("ds_cnn", 2, seed=3)
    emulated = EmulatedModel(folder, boards.require("m4"))
    np.testing.assert_array_equal(emulated(x), HostModel(folder, flags=FLAGS)(x))


def test_unknown_cores_and_missing_tools_are_named(monkeypatch):
    folder = models.folder("narrow_autoencoder", "portable")
    with pytest.raises(ValueError, match=r"core must be one of .*cortex-m4.*, got 'cortex-m99'"):
        EmulatedModel(folder, "cortex-m99")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match="arm-none-eabi-gcc must be installed: apt-get install"):
        EmulatedModel(folder, "cortex-m4")
