"""Generated C on this machine against the session's exact arithmetic, bit by bit."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest

import tersor
from tersor.exporters import HostModel, c
from tersor.report.layers import layer_costs
from tersor.targets import model_latency
from tests import datasets
from tests.codegen import graphs, models
from tests.networks import Builder, Int8Builder, qparams

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
KERNELS = ("portable", "dsp")


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", models.NAMES)
def test_networks_give_the_session_s_bits(name, kernels):
    model = models.compressed(name)
    x = models.inputs(name, 100, seed=7)
    want = tersor.simulate(model, x)
    host = HostModel(models.folder(name, kernels))
    np.testing.assert_array_equal(host(x), want)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_give_the_session_s_bits(seed, tmp_path):
    graph = graphs.random_graph(seed)
    x = graphs.codes(graph, 5)
    want = tersor.Session(graph, arithmetic="exact", provider="reference")(x)
    for kernels in KERNELS:
        folder = tmp_path / kernels
        c.write(graph, folder, kernels=kernels)
        np.testing.assert_array_equal(HostModel(folder, flags=FLAGS)(x), want)


def test_extreme_multipliers_and_biases(tmp_path):
    """Shifts to the left, none, and far to the right; sums near the ends of int32."""
    b = Int8Builder(3)
    x = b.graph.add_input("x", "int8", (None, 8))
    b.graph.set_qparams(x, qparams(0.5, -128))
    scales = np.float32([4.0, 1.0, 0.5, 0.25, 1e-3, 1e-6, 2.0**-28, 2.0**-30])
    weights = b.rng.integers(-127, 128, size=(8, 8)).astype(np.int8)
    bias = np.int32([0, 5, -5, 7, 1 << 20, -(1 << 28), 1 << 30, -(1 << 30)])
    w = b.graph.add_constant(
        "w", weights, "", qparams(scales, np.zeros(8, int), narrow=True, axis=0)
    )
    k = b.graph.add_constant("b", bias, "", qparams(scales / 2, np.zeros(8, int), axis=0, bits=32))
    y = b.graph.add_node("dense", [x, w, k], {}, "dense", "y", qparams=qparams(0.5, 3))
    graph = b.done(y)
    codes = graphs.codes(graph, 200)
    want = tersor.Session(graph, arithmetic="exact", provider="reference")(codes)
    for kernels in KERNELS:
        c.write(graph, tmp_path / kernels, kernels=kernels)
        np.testing.assert_array_equal(HostModel(tmp_path / kernels, flags=FLAGS)(codes), want)


def test_clustered_weights_stay_four_bits():
    graph = models.clustered()
    x = models.inputs("clustered", 10, seed=3)
    host = HostModel(models.folder("clustered", "dsp"), flags=FLAGS)
    np.testing.assert_array_equal(host(x), tersor.simulate(graph, x))
    assert host.weight_bytes <= 40 * 1024
    assert HostModel(models.folder("resnet8", "dsp"), flags=FLAGS).weight_bytes > 75 * 1024


@pytest.mark.extended
def test_four_bit_weights_keep_the_accuracy(tmp_path):
    """ResNet-8 on all test images, in the very code that ships: within a point of float."""
    if not models.is_trained("resnet8"):
        pytest.skip("needs the trained ResNet-8 and Keras")
    train, test = datasets.cifar10("train"), datasets.cifar10("test")
    rows = np.random.default_rng(0).choice(len(train.y), 512, replace=False)
    samples = train.x[rows].astype(np.float32)
    graph, x = models.network("resnet8"), test.x.astype(np.float32)
    model = tersor.compress(graph, recipe="codebook4a8", calibration=samples)
    written = model.export(tmp_path / "c", format="c", kernels="dsp")
    assert written.decoded.keys() == {"conv2d", "dense"}  # the first and the last layer
    host = HostModel(tmp_path / "c")
    assert host.weight_bytes <= 40 * 1024
    wanted, got = tersor.Session(graph)(x).argmax(1), host(x).argmax(1)
    top1 = [100 * float((y == test.y).mean()) for y in (wanted, got)]
    print(top1, host.weight_bytes)
    assert top1[1] >= top1[0] - 1


def test_pruned_blocks_are_left_out():
    graph = models.pruned()
    x = models.inputs("pruned", 10, seed=4)
    host = HostModel(models.folder("pruned", "dsp"), flags=FLAGS)
    np.testing.assert_array_equal(host(x), tersor.simulate(graph, x))
    assert host.weight_bytes <= 32 * 1024
    text = (models.folder("pruned", "dsp") / "network.c").read_text()
    assert text.count("  tersor_conv_sparse_dsp(&p") == 8


def test_header_states_sizes_and_layers(tmp_path):
    name = "ds_cnn"
    header = (models.folder(name, "dsp") / "network.h").read_text()
    program, memory = c.lower(models.compressed(name).graph, "dsp")
    assert f"#define NETWORK_ARENA_BYTES {memory.total}\n" in header
    weights = sum(layer.weight_bytes for layer in program.layers)
    assert f"#define NETWORK_WEIGHT_BYTES {weights}\n" in header
    assert re.search(r"#define NETWORK_INPUT_0_SCALE [\d.e-]+\n", header)
    for layer in program.layers:
        row = next(line for line in header.splitlines() if f" {layer.name} " in line)
        assert f"{layer.macs:,}" in row
        assert f"{layer.weight_bytes:,}" in row


def test_no_float_no_allocation_no_library():
    for name in models.NAMES:
        for kernels in KERNELS:
            text = (models.folder(name, kernels) / "network.c").read_text()
            code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            assert not re.search(r"\b(float|double|malloc|free|printf)\b", code)
            includes = re.findall(r"#include (\S+)", text)
            assert set(includes) == {'"network.h"', "<string.h>"}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compiles_without_warnings_and_runs_its_example(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    for name in ("resnet8", "autoencoder"):
        folder = models.folder(name, "portable")
        program = tmp_path / name
        subprocess.run(
            [compiler, *FLAGS, "-pedantic", "-Wconversion", "-Wno-error=conversion",
             str(folder / "network.c"), str(folder / "main.c"), "-o", str(program)],
            check=True, capture_output=True,
        )  # fmt: skip
        out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
        host = HostModel(folder, flags=FLAGS)
        graph = models.compressed(name).graph
        zeros = np.zeros((1, *graph.inputs[0].shape[1:]), np.float32)
        (want,) = host.run(host._inputs[0].codes(zeros))
        assert [int(v) for v in out.split()] == want.ravel().tolist()


CROSS = {
    "aarch64": ("aarch64-linux-gnu-gcc",),
    "m0": ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m0"),
    "m7": ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m7"),
    "m55": ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
    "rv32": ("riscv64-unknown-elf-gcc", "-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs"),
}


@pytest.mark.parametrize("core", CROSS)
def test_cross_compiles_without_warnings(core, tmp_path):
    compiler, *options = CROSS[core]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    kernels = "dsp" if core in ("m7", "m55") else "portable"
    folders = [models.folder(name, kernels) for name in models.NAMES]
    folders.append(models.folder("ds_cnn", kernels, streaming=True))
    for seed in range(3):
        c.write(graphs.random_graph(seed), tmp_path / str(seed), kernels=kernels)
        folders.append(tmp_path / str(seed))
    for folder in folders:
        done = subprocess.run(
            [compiler, *options, *FLAGS, "-c", str(folder / "network.c"), "-o", "/dev/null"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_activations_slide_over_their_inputs():
    program, memory = c.lower(models.compressed("mobilenet_v1").graph, "dsp")
    largest = max(size for size in program.sizes)
    # The largest activation fills the arena; its input lies inside of it.
    assert memory.total < 1.01 * largest


def test_layer_in_float_is_named():
    b = Builder()
    graph = b.done(b.conv(b.input((3, 8, 8)), 4, name="stem"))
    with pytest.raises(tersor.UnsupportedError, match="input x must be int8"):
        c.write(graph, "/nowhere/at/all")


def test_layer_left_in_float_is_named(tmp_path):
    b = Builder()
    first = b.conv(b.input((3, 8, 8)), 4, name="stem")
    slopes = b.graph.add_constant("slopes", np.float32([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1))
    graph = b.done(b.conv(b.node("prelu", first, slopes, name="bend"), 4, name="head"))
    x = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    model = tersor.compress(graph, recipe="int8", calibration=x)
    with pytest.raises(tersor.UnsupportedError, match=r"layer bend \(prelu\): must have int8"):
        c.write(model.graph, tmp_path / "out")
    assert "one constant slope" in str(model.summary())
    first = Builder()
    y = first.node("sqrt", first.node("abs", first.input((3, 8, 8)), name="size"), name="root")
    graph = first.done(first.conv(y, 4, name="head"))
    model = tersor.compress(graph, recipe="int8", calibration=x)
    with pytest.raises(tersor.UnsupportedError, match=r"read by layer size \(abs\)"):
        c.write(model.graph, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_floats_between_two_codes(tmp_path):
    """Networks from TFLite round them away from zero, others to the even code."""
    x = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 1e9, -1e9, np.nan]], np.float32)
    for ties, want in (("even", [-2, -2, 0, 0, 2, 2, 0, 127, -128, 0]),
                       ("away", [-3, -2, -1, 1, 2, 3, 0, 127, -128, 0])):  # fmt: skip
        graph = tersor.Graph()
        edge = graph.add_input("x", "float32", (None, 10))
        codes = graph.add_node("quantize", [edge], {"ties": ties}, "q", "q", qparams=qparams(1, 0))
        y = graph.add_node("neg", [codes], {}, "neg", "y", qparams=qparams(1, 0))
        graph.set_outputs([graph.add_node("neg", [y], {}, "back", "z", qparams=qparams(1, 0))])
        for provider in ("", "reference"):
            got = tersor.Session(graph, provider=provider)(x)
            np.testing.assert_array_equal(got, np.maximum([want], -127))
        c.write(graph, tmp_path / ties)
        np.testing.assert_array_equal(HostModel(tmp_path / ties, flags=FLAGS)(x), got)
    graph.add_node("quantize", [edge], {"ties": "up"}, qparams=qparams(1, 0))
    with pytest.raises(tersor.GraphError, match="ties must be even or away, got up"):
        graph.verify()


def test_places_that_cannot_be_written_are_named(tmp_path):
    graph = graphs.random_graph(1)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="the folder of path must exist, got"):
        c.write(graph, tmp_path / "file" / "out")
    with pytest.raises(OSError, match=r"path must be a place that can be written to, got '/proc/"):
        c.write(graph, "/proc/network")
    with pytest.raises(OSError, match=r"path must be a place that can be written to, got '/proc/"):
        tersor.exporters.export(graph, "/proc/network.onnx")
    with pytest.raises(tersor.ArtifactError, match=r"save: path must be a place .* got '/proc/n"):
        models.compressed("autoencoder").save("/proc/network.tersor")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_operator_without_kernel_is_named(tmp_path):
    b = graphs.RandomGraph(0)
    x = b.start((2, 4, 4))
    y = b.make("expand", x, shape=[1, 2, 4, 4], q=b.same(x))
    graph = b.done(y)
    with pytest.raises(tersor.UnsupportedError, match=r"layer expand1 \(expand\): there is no C"):
        c.write(graph, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_left_alone(tmp_path):
    graph = graphs.random_graph(1)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="must be a folder that does not exist"):
        c.write(graph, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="the folder of path must exist"):
        c.write(graph, tmp_path / "a" / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="must be a folder that does not exist"):
        c.write(graph, tmp_path / "link")


def test_too_big_for_the_target_names_layer_and_numbers(tmp_path):
    graph = models.compressed("resnet8").graph
    target = dataclasses.replace(tersor.Target.load("mcu"), ram_bytes=16 * 1024)
    with pytest.raises(ValueError, match=r"RAM of target mcu must hold 3\d,\d{3} bytes .* layer "):
        c.write(graph, tmp_path / "out", target=target)
    target = dataclasses.replace(tersor.Target.load("mcu"), flash_bytes=64 * 1024)
    with pytest.raises(ValueError, match=r"flash of target mcu must hold .* bytes of weights"):
        c.write(graph, tmp_path / "out", target=target)
    target = dataclasses.replace(
        tersor.Target.load("stm32l4r5"), constraints=tersor.Budget(latency=0.01)
    )
    message = r"latency on target stm32l4r5 must be at most 10 ms, got \d+ ms \(modelled\); layer"
    with pytest.raises(ValueError, match=message):
        c.write(graph, tmp_path / "out", target=target)
    assert list(tmp_path.iterdir()) == []


def test_modelled_time_is_near_that_of_counted_instructions():
    """The table of instructions by kind of layer holds for whole networks within 12 %."""
    target = tersor.Target.load("stm32l4r5")
    cycles = target.latency_model.cycles_per_instruction
    for name, instructions in models.COUNTED.items():
        costs = layer_costs(models.compressed(name).graph)
        counted = instructions * cycles / target.clock_hz
        assert model_latency(target, costs).value == pytest.approx(counted, rel=0.12)


def test_options_are_checked(tmp_path):
    graph = graphs.random_graph(1)
    with pytest.raises(ValueError, match="kernels must be portable or dsp, got 'neon'"):
        c.write(graph, tmp_path / "out", kernels="neon")
    with pytest.raises(ValueError, match="name must be lower-case letters"):
        c.write(graph, tmp_path / "out", name="My net")
    with pytest.raises(FileNotFoundError, match="HostModel: folder must hold a network in C"):
        HostModel(tmp_path)
    c.write(graph, tmp_path / "out", name="net")
    host = HostModel(tmp_path / "out", flags=FLAGS)
    with pytest.raises(ValueError, match="must be int8 of shape"):
        host.run(np.zeros((1, 2), np.int8))
    with pytest.raises(tersor.DeviceError, match="compiler must be installed"):
        HostModel(tmp_path / "out", compiler="no-such-compiler")
