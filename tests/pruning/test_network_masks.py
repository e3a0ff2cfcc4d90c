"""Masks of several layers together, against sorting in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.pruning import network_masks
from tersor.pruning.network_masks import is_pruned, parse_structure


def layers(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv": (6, 5, 3, 3), "dense": (7, 13), "one": (4, 4)}
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


@settings(max_examples=30, deadline=None)
@given(sparsity=st.floats(0, 1), seed=st.integers(0, 99))
def test_unstructured_keeps_the_largest_of_all(sparsity, seed):
    weights = layers(seed)
    masks = network_masks(weights, sparsity)
    flat = np.abs(np.concatenate([w.ravel() for w in weights.values()]))
    kept = np.concatenate([masks[n].ravel() for n in weights])
    assert kept.sum() == flat.size - round(sparsity * flat.size)
    assert not kept.any() or kept.all() or flat[kept].min() >= flat[~kept].max()


@settings(max_examples=30, deadline=None)
@given(sparsity=st.floats(0, 1), seed=st.integers(0, 99))
def test_blocks_of_all_layers(sparsity, seed):
    weights = layers(seed)
    masks = network_masks(weights, sparsity, structure="1x4")
    norms, kept = [], []
    for name, w in weights.items():
        rows = np.moveaxis(w, 1, -1).reshape(len(w), -1)  # input channels innermost
        mask = np.moveaxis(masks[name], 1, -1).reshape(len(w), -1)
        for first in range(0, rows.shape[1], 4):
            norms.append(np.square(rows[:, first : first + 4], dtype=np.float64).sum(1))
            block = mask[:, first : first + 4]
            assert (block.all(1) | ~block.any(1)).all()
            kept.append(block[:, 0])
    norms, kept = np.concatenate(norms), np.concatenate(kept)
    assert kept.sum() == kept.size - round(sparsity * kept.size)
    assert not kept.any() or kept.all() or norms[kept].min() >= norms[~kept].max() * (1 - 1e-6)


@pytest.mark.parametrize("structure", ["unstructured", "2x2", "1x4"])
def test_share_of_each_layer(structure):
    weights = layers()
    masks = network_masks(weights, 0.5, structure=structure, scope="layer")
    for mask in masks.values():
        assert abs(mask.mean() - 0.5) < 0.15


def test_n_m_waits_for_its_sparsity():
    weights = layers()
    assert all(m.all() for m in network_masks(weights, 0.49, structure="2:4").values())
    masks = network_masks(weights, 0.5, structure="2:4")
    rows = np.moveaxis(masks["conv"], 1, -1).reshape(6, 45)
    assert all(rows[:, i : i + 4].sum(1).max() <= 2 for i in range(0, 45, 4))


def test_scores_replace_magnitudes():
    weights = layers()
    scores = {name: -np.abs(w) for name, w in weights.items()}
    for structure in ("unstructured", "1x4", "2:4"):
        for scope in ("global", "layer"):
            a = network_masks(weights, 0.5, structure=structure, scope=scope, scores=scores)
            small = sum(np.abs(w[a[n]]).sum() for n, w in weights.items())
            large = sum(np.abs(w[~a[n]]).sum() for n, w in weights.items())
            assert small < large


def test_structures():
    assert parse_structure("unstructured") == ("unstructured", 1, 1)
    assert parse_structure("16x1") == ("blocks", 16, 1)
    assert parse_structure("4:8") == ("n:m", 4, 8)
    for bad in ("4:2", "0x4", "blocks", "", "1x", "2:4:8"):
        with pytest.raises(ValueError, match="structure must be"):
            parse_structure(bad)


def test_what_counts_as_pruned():
    w = np.ones(100, np.float32)
    w[:4] = 0
    assert not is_pruned(w)
    w[4] = 0
    assert is_pruned(w)
    assert not is_pruned(np.zeros(10))
    assert not is_pruned(np.zeros(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "all"}, "scope must be global or layer"),
        ({"sparsity": 1.5}, r"sparsity must be in \[0, 1\], got 1.5"),
        ({"structure": "4x"}, "structure must be"),
        ({"scores": {"conv": [1], "dense": [1], "one": [1]}}, r"scores\['conv'\] must have shape"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network_masks(layers(), **{"sparsity": 0.5, **options})
