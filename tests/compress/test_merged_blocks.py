"""Residual blocks that become one convolution: what a block is, the fit, recipes."""

import numpy as np
import pytest

import tersor
from tersor.compress import Recipe
from tersor.compress.merged_blocks import find_blocks, merge_blocks, without_blocks
from tests.compress.networks import decibels, images, random, residual


def conv(graph, x, out, name, seed, kernel=3, **attributes):
    wide = graph.edge(x).shape[1]
    w = random((out, wide, kernel, kernel), seed) * (2 / (wide * kernel**2)) ** 0.5
    inputs = [
        x,
        graph.add_constant(f"{name}.weight", np.float32(w)),
        graph.add_constant(f"{name}.bias", 0.1 * random(out, seed + 1)),
    ]
    pads = [kernel // 2] * 4
    return graph.add_node("conv", inputs, {"pads": pads, **attributes}, name)


def block(inner="relu", last=3, projection=False, stride=1, after="relu", **options):
    """Stem, a block, a mean."""
    graph = tersor.Graph()
    x = graph.add_input("x", "float32", (None, 3, 8, 8))
    x = conv(graph, x, 8, "stem", 0, activation="relu")
    strides = [stride, stride]
    y = conv(graph, x, 8, "inner", 2, activation=inner, strides=strides, **options)
    y = conv(graph, y, 8, "outer", 4, kernel=last)
    if projection:
        x = conv(graph, x, 8, "projection", 6, kernel=1, strides=strides)
    total = graph.add_node("add", [x, y], {"activation": after}, "join")
    mean = graph.add_node("reduce_mean", [total], {"axes": [2, 3], "keepdims": 0}, "mean")
    graph.set_outputs([mean])
    graph.verify()
    return graph


def samples(count=64):
    return random((count, 3, 8, 8), 9)


def quiet(stage, done, total):
    pass


@pytest.mark.parametrize("options", [{}, {"projection": True}, {"projection": True, "stride": 2}])
def test_a_block_becomes_one_convolution(options):
    graph = block(**options)
    (found,) = find_blocks(graph).values()
    assert [graph.nodes[i].name for i in found.chain] == ["inner", "outer"]
    assert len(found.shortcut) == int("projection" in options)
    small = merge_blocks(graph, ["join"])
    small.verify()
    assert [node.name for node in small.nodes] == ["stem", "outer", "mean"]
    assert small.macs < 0.7 * graph.macs
    x = samples()
    fitted = without_blocks(graph, ["join"], x, None, 0, quiet)
    wanted = tersor.Session(graph)(x)
    assert decibels(wanted, tersor.Session(fitted)(x)) > 10
    assert decibels(wanted, tersor.Session(fitted)(x)) > decibels(wanted, tersor.Session(small)(x))


def test_what_one_convolution_can_do_it_does():
    """A linear 3x3, a 1x1 and the input are one 3x3 convolution."""
    graph = block(inner="none", last=1)
    x = samples()
    fitted = without_blocks(graph, ["join"], x, None, 0, quiet)
    assert decibels(tersor.Session(graph)(x), tersor.Session(fitted)(x)) > 40


def test_what_is_no_block():
    assert find_blocks(block(projection=True)) != {}
    grouped = block()
    assert set(find_blocks(grouped)) == {"join"}
    plain = tersor.Graph()
    x = plain.add_input("x", "float32", (None, 4, 8, 8))
    one = conv(plain, x, 4, "one", 0, activation="relu")
    # What lies between is read outside.
    two = conv(plain, one, 4, "two", 2)
    total = plain.add_node("add", [x, two], {}, "join")
    plain.set_outputs([total, one])
    assert find_blocks(plain) == {}
    # A shortcut from elsewhere, an activation before the sum, one convolution.
    other = tersor.Graph()
    x = other.add_input("x", "float32", (None, 4, 8, 8))
    y = other.add_input("y", "float32", (None, 4, 8, 8))
    a = other.add_node(
        "add", [conv(other, conv(other, x, 4, "a", 0), 4, "b", 2), y], {}, "elsewhere"
    )
    b = conv(other, conv(other, a, 4, "c", 4), 4, "d", 6, activation="relu")
    b = other.add_node("add", [a, b], {}, "activated")
    c = other.add_node("add", [b, conv(other, b, 4, "e", 8)], {}, "single")
    other.set_outputs([c])
    assert find_blocks(other) == {}
    with pytest.raises(ValueError, match=r"merged must be sums of blocks .*got 'single'"):
        merge_blocks(other, ["single"])
    dense = tersor.Graph()
    x = dense.add_input("x", "float32", (None, 4))
    dense.set_outputs([dense.add_node("add", [x, x], {}, "twice")])
    assert find_blocks(dense) == {}


def test_recipes_merge_and_are_read_again():
    graph, x = residual(), images(64)
    recipe = Recipe("int8", merged=["join", "join"])
    assert recipe.merged == ("join",)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert "merged" not in Recipe("int8").to_dict()
    model = tersor.compress(graph, recipe=recipe, calibration=x)
    assert len(model.graph.nodes) < len(tersor.compress(graph, calibration=x).graph.nodes)
    again = tersor.compress(graph, recipe=recipe.to_dict(), calibration=iter([x]))
    assert again.content_hash == model.content_hash
    # Channels are those of the network whose blocks are merged.
    both = tersor.compress(graph, recipe=Recipe("fp32", merged=["join"], channels="ff0f"),
                           calibration=x)  # fmt: skip
    assert both.graph.macs < model.graph.macs


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("join", TypeError, "merged must be a list of names, got 'join'"),
        (3, TypeError, "merged must be a list of names, got 3"),
        ([3], TypeError, "merged must be a list of names, got 3 among them"),
    ],
)
def test_recipes_say_what_is_wrong(value, error, message):
    with pytest.raises(error, match=message):
        Recipe(merged=value)


def test_blocks_need_samples_and_names():
    with pytest.raises(ValueError, match="got 'x'"):
        tersor.compress(residual(), recipe=Recipe(merged=["x"]), calibration=images())
    with pytest.raises(ValueError, match="calibration must be given for merged blocks"):
        tersor.compress(residual(), recipe=Recipe("fp32", merged=["join"]))
    with pytest.raises(ValueError, match="merged needs other values than 'keep'"):
        Recipe("keep", merged=["join"])
