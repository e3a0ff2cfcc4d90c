"""``tersor inspect``: layers of graphs, sections of files."""

import tersor
from tersor.zoo import load_digits_network


def test_graph(run):
    document = run("inspect", "digits", "--json").json()
    assert document["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 1, 8, 8]}]
    assert document["macs"] == 673_088
    assert document["preprocess"]["layout"] == "NCHW"
    assert [layer["op"] for layer in document["layers"]].count("conv") == 6
    assert document["file"] is None
    table = run("inspect", "digits")
    assert "block2.conv2" in table.out
    assert "673,088 MACs" in table.out


def test_file(run, tmp_path):
    path = tmp_path / "n.tersor"
    tersor.artifact.save(path, load_digits_network())
    document = run("inspect", path, "--json").json()
    assert document["file"]["file_bytes"] == path.stat().st_size
    assert {"graph", "tensors"} & {section["name"] for section in document["file"]["sections"]}
    assert "section" in run("inspect", path).out


def test_quantized_weights(run, tmp_path):
    path = tmp_path / "n.tersor"
    tersor.compress(load_digits_network(), recipe="w4a32").save(path)
    document = run("inspect", path, "--json").json()
    weight = document["layers"][0]["weights"][0]
    assert (weight["bits"], weight["group_size"], weight["float_zero_point"]) == (4, 32, False)
    assert document["recipe"]["values"] == "w4a32"
    assert "int4 group 32" in run("inspect", path).out


def test_damaged_file(run, tmp_path):
    path = tmp_path / "n.tersor"
    tersor.artifact.save(path, load_digits_network())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = run("inspect", path)
    assert result.code == 2
    assert result.err.count("\n") == 1
