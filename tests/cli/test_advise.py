"""``tersor advise``: sentences and JSON."""


def test_tables_and_json(run):
    result = run("advise", "digits")
    assert result.code == 0
    assert "what would pay on this machine" in result.out
    assert "block2.conv2" in result.out
    document = run("advise", "digits", "--target", "mcu", "--json").json()
    assert document["target"] == "mcu"
    assert {finding["topic"] for finding in document["findings"]} == {
        "sparsity",
        "int8",
        "channels",
        "kernels",
    }
    assert all(layer["pays_from"] is None for layer in document["layers"])


def test_unknown_target(run):
    result = run("advise", "digits", "--target", "egde")
    assert result.code == 2
    assert "did you mean 'edge'?" in result.err
