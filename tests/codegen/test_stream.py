"""Generated C that runs row by row: the session's bits from less memory."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import tersor
from tersor.exporters import HostModel, c
from tests.codegen import graphs, models
from tests.networks import int8_residual_network

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
KERNELS = ("portable", "dsp")
OPTIONS = ("streaming", "rows_in")
NAMES = ("resnet8", "ds_cnn", "mobilenet_v1")
# Bytes of the arena at most: with the input inside, and with the input brought row by row.
ARENA = {"resnet8": (16_200, 15_200), "ds_cnn": (5_600, 5_200), "mobilenet_v1": (27_900, 14_200)}


def check(graph, folder, kernels, option, samples=3):
    """Write, compile, compare; return the model."""
    x = graphs.codes(graph, samples)
    want = tersor.Session(graph, arithmetic="exact", provider="reference")(x)
    c.write(graph, folder, kernels=kernels, **{option: True})
    host = HostModel(folder, flags=FLAGS)
    np.testing.assert_array_equal(host(x), want)
    return host


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_networks_give_the_session_s_bits(name, kernels, option):
    x = models.inputs(name, 5, seed=7)
    host = HostModel(models.folder(name, kernels, **{option: True}), flags=FLAGS)
    np.testing.assert_array_equal(host(x), tersor.simulate(models.compressed(name), x))
    assert host.arena_bytes <= ARENA[name][option == "rows_in"]


@pytest.mark.parametrize("name", ["clustered", "pruned"])
def test_codes_and_blocks_go_row_by_row(name):
    x = models.inputs(name, 3, seed=7)
    host = HostModel(models.folder(name, "dsp", streaming=True), flags=FLAGS)
    np.testing.assert_array_equal(host(x), tersor.simulate(models.GRAPHS[name](), x))
    assert host.arena_bytes < 18 * 1024


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("size", [(32, 32), (31, 17), (9, 40), (5, 5)])
def test_inverted_residuals_of_odd_sizes(size, option, tmp_path):
    graph = graphs.inverted_residuals(*size)
    for kernels in KERNELS:
        host = check(graph, tmp_path / kernels, kernels, option)
        c.write(graph, tmp_path / f"{kernels}_whole", kernels=kernels)
        whole = HostModel(tmp_path / f"{kernels}_whole", flags=FLAGS)
        codes = graphs.codes(graph, 3, seed=1)
        np.testing.assert_array_equal(host(codes), whole(codes))
        assert host.arena_bytes <= whole.arena_bytes
        if size == (32, 32):
            assert host.arena_bytes < 0.6 * whole.arena_bytes


@pytest.mark.parametrize("size", [8, 21])
def test_shortcuts_wait_in_few_rows(size, tmp_path):
    graph = int8_residual_network(size=size)
    x = np.random.default_rng(0).normal(size=(4, 3, size, size)).astype(np.float32)
    for option in OPTIONS:
        c.write(graph, tmp_path / option, kernels="dsp", **{option: True})
        host = HostModel(tmp_path / option, flags=FLAGS)
        np.testing.assert_array_equal(host(x), tersor.simulate(graph, x))


@pytest.mark.parametrize("seed", range(20, 28))
def test_random_graphs_give_the_session_s_bits(seed, tmp_path):
    graph = graphs.random_graph(seed)
    option = OPTIONS[seed % 2]
    for kernels in KERNELS:
        check(graph, tmp_path / kernels, kernels, option)


def test_nothing_is_computed_twice():
    for name in NAMES:
        program, _ = c.lower(models.compressed(name).graph, "dsp", streaming=True)
        made, rows = program.stream.schedule, program.stream.scheduler.rows
        for index in range(made.begin, made.end):
            assert made.order.count(index) == rows[index].steps


def test_header_says_what_is_held():
    header = (models.folder("ds_cnn", "dsp", streaming=True) / "network.h").read_text()
    program, memory = c.lower(models.compressed("ds_cnn").graph, "dsp", streaming=True)
    assert f"#define NETWORK_ARENA_BYTES {memory.total} " in header.replace("\n", " ")
    first = program.layers[0].name
    assert f"/* Row by row: {first} to " in header
    row = next(line for line in header.splitlines() if f" {first} " in line and "," in line)
    assert row.rstrip(" */").endswith("3 of 25")


def test_network_that_gains_nothing_runs_whole(tmp_path):
    b = graphs.RandomGraph(0)
    x = b.start((4, 1, 9))
    graph = b.done(b.make("hard_swish", x, q=b.fresh()))
    check(graph, tmp_path / "whole", "portable", "streaming")
    assert "Row by row" not in (tmp_path / "whole" / "network.h").read_text()


def test_refusals_name_the_layer(tmp_path):
    graph = models.compressed("autoencoder").graph
    for option in OPTIONS:
        with pytest.raises(tersor.UnsupportedError, match=r"layer \S+ \(dense\)"):
            c.write(graph, tmp_path / "out", **{option: True})
    with pytest.raises(TypeError, match="streaming must be a bool, got 'rows'"):
        c.write(graph, tmp_path / "out", streaming="rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_example_runs(option, tmp_path):
    folder = models.folder("ds_cnn", "portable", **{option: True})
    program = tmp_path / "example"
    files = [str(folder / name) for name in ("network.c", "main.c")]
    subprocess.run(["cc", *FLAGS, "-pedantic", *files, "-o", str(program)], check=True)
    out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    host = HostModel(folder, flags=FLAGS)
    shape = models.compressed("ds_cnn").graph.inputs[0].shape[1:]
    (want,) = host.run(host._inputs[0].codes(np.zeros((1, *shape), np.float32)))
    assert [int(v) for v in out.split()] == want.ravel().tolist()
