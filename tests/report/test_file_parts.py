"""Every byte of the saved file is in one part; hash and histograms are those of the network."""

import hashlib

import numpy as np
import pytest

import tersor
from tersor.report import file_parts, weight_histograms
from tersor.zoo import load_digits_data, load_digits_network


@pytest.fixture(scope="module")
def models():
    graph, x = load_digits_network(), load_digits_data("calibration")
    recipes = ("int8", "deep-compression")
    made = {r: tersor.compress(graph, recipe=r, calibration=x, progress=False) for r in recipes}
    return {"fp32": graph, **made}


@pytest.mark.parametrize("name", ["int8", "deep-compression"])
def test_parts_sum_to_the_file(models, name, tmp_path):
    model = models[name]
    model.save(tmp_path / "m.tersor")
    content = (tmp_path / "m.tersor").read_bytes()
    parts = file_parts(model)
    assert parts.total == len(content) == model.nbytes
    assert parts.content_hash == model.content_hash == hashlib.sha256(content).hexdigest()
    assert min(parts.to_dict().values()) >= 0
    assert (parts.codebooks > 0) == (name == "deep-compression")


def test_histograms_share_bins(models):
    before = weight_histograms(models["fp32"])
    assert len(before) == 6
    after = weight_histograms(models["deep-compression"].graph, before)
    assert list(after) == list(before)
    for name, h in before.items():
        assert sum(h.counts) == h.weights == sum(after[name].counts)
        assert after[name].most == h.most
        assert after[name].distinct <= 16 < h.distinct
        assert after[name].zeros > 0.3


def test_histogram_of_known_weights():
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 4))
    w = graph.add_constant("w", np.float32([[0, 0, 0, -2], [0, 1, 2, 2]]))
    graph.set_outputs([graph.add_node("dense", [x, w], {}, "fc")])
    h = weight_histograms(graph)["fc"]
    assert (h.most, h.weights, h.zeros, h.distinct) == (2.0, 8, 0.5, 4)
    assert h.counts[24] == 4
    assert (h.counts[0], h.counts[-1]) == (1, 2)
