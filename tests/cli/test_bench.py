"""``tersor bench``: counts, options, the layers."""

import pytest

import tersor


def test_defaults(run):
    result = run("bench", "digits", "--json").json()
    latency = result["latency"]
    assert (latency["warmup"], latency["runs"], latency["batch"]) == (10, 100, 1)
    assert 0 < latency["min_s"] <= latency["median_s"] <= latency["p95_s"]
    assert latency["samples_per_s"] == pytest.approx(1 / latency["mean_s"])
    assert result["session_memory_bytes"] > 100_000
    assert result["process_peak_bytes"] > result["session_memory_bytes"]
    assert result["environment"]["isa"] == tersor.active_isa()
    assert result["recipe"] == result["precision"] == "fp32"


def test_options(run):
    arguments = ["--batch", "3", "--threads", "2", "--warmup", "0", "--runs", "4"]
    result = run("bench", "digits", "--json", "--precision", "bf16", "--profile", *arguments).json()
    assert (result["latency"]["batch"], result["threads"], result["precision"]) == (3, 2, "bf16")
    layers = result["layers"]
    assert sum(layer["macs"] for layer in layers) == 3 * 673_088
    assert all(layer["kernel"] for layer in layers)


def test_table(run):
    result = run("bench", "digits", "--runs", "3", "--profile")
    assert result.code == 0
    for text in (
        "mean",
        "median",
        "p95",
        "samples/s",
        "session memory",
        "block1.conv1",
        "3 counted",
    ):
        assert text in result.out, text


def test_a_fixed_batch_is_kept(run, tmp_path):
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (2, 4))
    graph.set_outputs([graph.add_node("relu", [x])])
    path = tmp_path / "n.tersor"
    tersor.artifact.save(path, graph)
    result = run("bench", path, "--batch", "3")
    assert result.code == 2
    assert "fixed batch of 2, got 3" in result.err
