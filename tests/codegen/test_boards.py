"""Generated C on emulated microcontrollers: the host's bits, instructions, memory."""

from __future__ import annotations

import numpy as np
import pytest

from tersor.exporters import HostModel
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


def run(board, name, tmp_path, samples):
    """Outputs on the board, those of the host, and what was measured."""
    folder = models.folder(name, "dsp" if board in DSP else "portable")
    boards.require(board)
    host = HostModel(folder, flags=FLAGS)
    end, out = host._inputs[0], host._outputs[0]
    codes = host._codes(models.inputs(name, samples, seed=11), end)
    measured = boards.run(board, folder, np.ascontiguousarray(host._physical(codes, end)), tmp_path)
    (want,) = host.run(codes)
    return want.transpose(0, *(1 + a for a in out.axes)).reshape(samples, -1), measured


@pytest.mark.parametrize("name", models.NAMES)
def test_cortex_m4_keeps_its_limits(name, tmp_path):
    want, got = run("m4", name, tmp_path, 2)
    np.testing.assert_array_equal(got.outputs, want)
    instructions, ram, code = LIMITS[name]
    assert got.instructions < instructions * 1e6
    assert got.stack_bytes + got.data_bytes <= ram
    assert got.text_bytes <= code


def test_four_bit_weights_are_decoded_inside_the_loop(tmp_path):
    want, got = run("m4", "clustered", tmp_path, 2)
    np.testing.assert_array_equal(got.outputs, want)
    assert got.instructions < 1.6 * models.MACS["clustered"]


def test_pruned_blocks_take_no_time(tmp_path):
    want, got = run("m4", "pruned", tmp_path, 2)
    np.testing.assert_array_equal(got.outputs, want)
    assert got.instructions < 0.8 * models.MACS["pruned"]


@pytest.mark.parametrize("board", ["m0", "m3", "m7", "m33", "m55", "rv32"])
def test_boards_give_the_host_s_bits(board, tmp_path):
    want, got = run(board, "ds_cnn", tmp_path, 2)
    np.testing.assert_array_equal(got.outputs, want)


def test_microbit_runs_what_fits_into_16_kilobytes(tmp_path):
    want, got = run("microbit", "narrow_autoencoder", tmp_path, 2)
    np.testing.assert_array_equal(got.outputs, want)


@pytest.mark.parametrize("board", ["m0", "rv32"])
def test_portable_code_stays_within_six_instructions_a_product(board, tmp_path):
    want, got = run(board, "resnet8", tmp_path, 1)
    np.testing.assert_array_equal(got.outputs, want)
    assert got.instructions < 6 * models.MACS["resnet8"]


@pytest.mark.slow
@pytest.mark.parametrize("board", ["m0", "m4", "m7", "m55", "rv32"])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_hundred_inputs_are_identical(name, board, tmp_path):
    want, got = run(board, name, tmp_path, 100)
    np.testing.assert_array_equal(got.outputs, want)
