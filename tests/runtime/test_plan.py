"""Plans: layouts, aliases, fusion, shared memory. Truth: float64 NumPy in logical order."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tersor
from tests import interpreter
from tests.networks import (
    Builder,
    Int8Builder,
    images,
    int8_residual_network,
    residual_network,
)


def steps(graph, x, **options):
    """(operator, node) of every step that runs."""
    return [(p.op, p.node) for p in tersor.Session(graph, **options).profile(x, repeats=1)]


def ops(graph, x):
    return [op for op, _ in steps(graph, x)]


def assert_right(graph, *inputs, provider=""):
    results = tersor.Session(graph, provider=provider)(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    for got, truth in zip(results, interpreter.outputs(graph, *inputs), strict=True):
        assert got.shape == truth.shape
        np.testing.assert_allclose(
            got, truth, rtol=1e-4, atol=1e-4 * max(1, np.abs(truth).max(initial=0))
        )


# --- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_residual_network(batch):
    graph = residual_network()
    assert_right(graph, images(batch))
    assert ops(graph, images(batch))[0] == "reorder"
    assert ops(graph, images(batch)).count("reorder") == 1  # the input's only
    assert ops(graph, images(batch)).count("conv + add") == 2


def keras_like(size=8):
    """Channels-last data between transposes to and from channels-first, as Keras graphs import."""
    b = Builder()
    x = b.graph.add_input("x", "float32", (None, size, size, 3))
    y = b.conv(b.node("transpose", x, perm=[0, 3, 1, 2]), 8, activation="relu")
    return b.done(b.node("transpose", y, perm=[0, 2, 3, 1], name="out"))


def test_network_from_keras_has_no_reorder():
    graph = keras_like()
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    assert_right(graph, x)
    assert ops(graph, x) == ["conv"]


def test_flatten_of_a_pooled_map_is_free():
    b = Builder()
    y = b.conv(b.input((3, 4, 4)), 8)
    y = b.node("max_pool", y, kernel=[4, 4], strides=[1, 1], pads=[0, 0, 0, 0])
    graph = b.done(b.dense(b.node("reshape", y, shape=[-1, 8]), 5))
    assert_right(graph, images(2, 4))
    assert ops(graph, images(2, 4)) == ["reorder", "conv", "max_pool", "dense"]


def test_flatten_of_a_map_is_in_logical_order():
    b = Builder()
    y = b.conv(b.input((3, 4, 4)), 8)
    graph = b.done(b.dense(b.node("reshape", y, shape=[-1, 128]), 5))
    assert_right(graph, images(2, 4))
    assert ops(graph, images(2, 4)) == ["reorder", "conv", "reorder", "dense"]


def test_patches_to_a_sequence_are_free():
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6, 2, strides=[2, 2], pads=[0, 0, 0, 0])
    y = b.node("transpose", b.node("reshape", y, shape=[-1, 6, 16]), perm=[0, 2, 1])
    graph = b.done(b.dense(y, 4))
    assert_right(graph, images(2))
    assert ops(graph, images(2)) == ["reorder", "conv", "dense"]


@pytest.mark.parametrize(
    "shape", [(), (1,), (8,), (6, 1, 1), (6, 8, 8), (1, 6, 1, 1), (1, 1, 8), (8, 1)]
)
@pytest.mark.parametrize("swap", [False, True])
def test_constants_meet_channels_last_operands(shape, swap):
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6)
    c = b.constant("c", b.floats(*shape))
    y = b.node("sub", c, y) if swap else b.node("sub", y, c)
    graph = b.done(b.conv(y, 4, name="after"))
    assert_right(graph, images(3))
    assert ops(graph, images(3)).count("reorder") == 2  # input and output


def test_squeeze_and_excite():
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6)
    s = b.node("reduce_mean", y, axes=[2, 3], keepdims=1)
    s = b.node("sigmoid", b.conv(s, 6, 1, name="gate"))
    graph = b.done(b.conv(b.node("mul", y, s), 4, name="after"))
    assert_right(graph, images(3))
    assert ops(graph, images(3)) == [
        "reorder",
        "conv",
        "reduce_mean",
        "conv",
        "sigmoid",
        "mul",
        "conv",
        "reorder",
    ]


def test_operand_of_lower_rank():
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6)
    row = b.graph.add_input("row", "float32", (8,))  # without a batch: the network runs whole
    graph = b.done(b.node("mul", y, b.node("relu", row)))
    assert_right(graph, images(9), b.floats(8))


def test_one_and_three_spatial_axes():
    for rank in (1, 3):
        b = Builder()
        y = b.conv(b.input((3, *[6] * rank)), 5, activation="relu", strides=[1] * rank)
        y = b.node("concat", y, b.conv(y, 4, name="second", strides=[1] * rank), axis=1)
        graph = b.done(b.node("reduce_max", y, axes=list(range(2, 2 + rank)), keepdims=0))
        assert_right(graph, b.floats(2, 3, *[6] * rank))


def test_output_is_an_input_a_constant_or_given_twice():
    b = Builder()
    x = b.input((4,))
    y = b.node("relu", b.node("identity", x))
    c = b.constant("c", b.floats(2, 3))
    graph = b.done(x, y, y, b.node("identity", x), c)
    value = b.floats(3, 4)
    results = tersor.Session(graph)(value)
    expected = [value, np.maximum(value, 0), np.maximum(value, 0), value, graph.edge("c").constant]
    for got, truth in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got, truth)
        got += 1  # every output has its own memory
    np.testing.assert_array_equal(results[1], results[2])


def test_fixed_batch():
    b = Builder()
    graph = b.done(b.conv(b.graph.add_input("x", "float32", (3, 3, 8, 8)), 4))
    assert_right(graph, images(3))
    with pytest.raises(ValueError, match=r"'x' must have shape \[3, 3, 8, 8\], got \[2, 3, 8, 8\]"):
        tersor.Session(graph)(images(2))


# --- fusion and memory --------------------------------------------------------------------------


def test_residual_add_is_not_fused_when_the_sum_is_wanted_apart():
    graph = residual_network()
    session = tersor.Session(graph)
    x = images(2)
    truth = interpreter.evaluate(graph, x)
    both = session.run_edges({"x": x}, ["a2", "a_add"])
    for name, value in both.items():
        np.testing.assert_allclose(value, truth[name], rtol=1e-4, atol=1e-4)


def test_in_place_steps_do_not_harm_later_readers():
    b = Builder()
    y = b.conv(b.input((3, 8, 8)), 6)
    r = b.node("relu", y)  # y is read again below
    s = b.node("sigmoid", r)
    t = b.node("tanh", s)
    graph = b.done(b.node("add", b.node("mul", t, y), b.node("relu", b.node("sub", t, y))))
    assert_right(graph, images(2))
    assert_right(graph, images(2), provider="reference")


def test_long_chains_reuse_memory():
    b = Builder()
    y = b.input((8, 64, 64))
    for i in range(12):
        y = b.conv(y, 8, name=f"c{i}")
    session = tersor.Session(b.done(y))
    session(images(1, 64, 8))
    edge = 8 * 64 * 64 * 4
    weights = 12 * (8 * 8 * 36 + 8) * 4  # Winograd's, 36 for 9
    assert session.peak_memory_bytes < 3 * edge + 3 * weights


def test_int8_network_in_both_arithmetics():
    graph = int8_residual_network()
    x = images(6)
    names = [op for op, _ in steps(graph, x)]
    assert "reorder" not in names  # quantization does it on the way in
    assert names.count("conv + add") + 2 * names.count("add") >= 2
    for arithmetic in ("fast", "exact"):
        got = tersor.Session(graph, arithmetic=arithmetic)(x)
        truth = tersor.Session(graph, arithmetic=arithmetic, provider="reference")(x)
        # Fast may differ by a code per node; exact may not differ at all.
        limit = 0 if arithmetic == "exact" else 0.3
        np.testing.assert_allclose(got, truth, rtol=0, atol=limit)
    np.testing.assert_array_equal(tersor.simulate(graph, x), got)


def test_fused_quantization_of_the_input_equals_the_formula():
    b = Int8Builder()
    q = b.quantize(b.input((3, 5, 7)), 0.013, -11)
    y = b.node("dequantize", b.conv8(q, 4, 0.05, 3, "conv"))
    graph = b.done(y)
    x = images(2, 5)[..., :1] * np.linspace(-3, 3, 7, dtype=np.float32)
    x[0, 0, 0, :4] = [np.nan, np.inf, -np.inf, 0.0065]
    codes = tersor.Session(graph).run_edges({"x": x}, ["quantize"])["quantize"]
    with np.errstate(invalid="ignore"):
        truth = np.clip(np.rint(x / np.float32(0.013)) - 11, -128, 127)
    truth[np.isnan(x)] = -11
    np.testing.assert_array_equal(codes, truth)
    # The same codes reach the convolution.
    assert ops(graph, np.nan_to_num(x))[0] == "quantize"
    seen = {}
    session = tersor.Session(graph)
    finite = np.nan_to_num(x, nan=0, posinf=9, neginf=-9)
    session.run_tapped(finite, edges=["conv"], tap=lambda n, v: seen.setdefault(n, []).append(v))
    reference = tersor.Session(graph, provider="reference").run_edges({"x": finite}, ["conv"])[
        "conv"
    ]
    assert np.abs(np.concatenate(seen["conv"]).astype(int) - reference).max() <= 1


# --- random networks ----------------------------------------------------------------------------


class Draw:
    """Random operators on random edges, of every layout class."""

    def __init__(self, data, seed):
        self.data, self.b = data, Builder(seed)
        self.edges = [self.b.input((3, 4, 6), "x")]

    def choose(self, options):
        return self.data.draw(st.sampled_from(options))

    def shape(self, e):
        return self.b.graph.edges[e].shape

    def edge(self, rank=None):
        fitting = [e for e in self.edges if rank is None or len(self.shape(e)) == rank]
        return self.choose(fitting or self.edges[:1])

    def conv(self):
        e, n = self.edge(4), len(self.edges)
        return self.b.conv(e, self.choose([1, 3, 8]), self.choose([1, 3]), name=f"conv{n}")

    def binary(self):
        e = self.edge()
        if self.data.draw(st.booleans()):
            shape = [self.choose([1, d]) for d in self.shape(e)[1:]]
            other = self.b.constant(
                f"c{len(self.edges)}", self.b.floats(*shape[self.choose([0, len(shape)]) :])
            )
        else:
            other = self.choose([o for o in self.edges if self.shape(o) == self.shape(e)])
        operands = [e, other] if self.data.draw(st.booleans()) else [other, e]
        return self.b.node(self.choose(["add", "sub", "mul", "maximum"]), *operands)

    def unary(self):
        return self.b.node(self.choose(["relu", "sigmoid", "tanh", "identity"]), self.edge())

    def concat(self):
        e = self.edge()
        axis = self.choose(range(1, len(self.shape(e))))
        same = [o for o in self.edges if self.shape(o) == self.shape(e)]
        return self.b.node("concat", e, self.choose(same), axis=axis)

    def softmax(self):
        e = self.edge()
        return self.b.node("softmax", e, axis=self.choose([-1, *range(1, len(self.shape(e)))]))

    def reduce(self):
        e = self.edge()
        axes = self.data.draw(st.sets(st.integers(1, len(self.shape(e)) - 1), min_size=1))
        kind = self.choose(["reduce_mean", "reduce_sum", "reduce_max"])
        return self.b.node(kind, e, axes=sorted(axes), keepdims=self.choose([0, 1]))

    def slice(self):
        e = self.edge()
        axis = self.choose(range(1, len(self.shape(e))))
        if self.shape(e)[axis] < 2:
            return self.unary()
        return self.b.node(
            "slice",
            e,
            axes=[axis],
            starts=[self.choose([0, 1])],
            ends=[1000],
            steps=[self.choose([1, 2])],
        )

    def pad(self):
        e = self.edge()
        sides = [[0, *[self.choose([0, 0, 1]) for _ in self.shape(e)[1:]]] for _ in range(2)]
        return self.b.node("pad", e, pads=sides[0] + sides[1], mode="constant", value=0.5)

    def transpose(self):
        e = self.edge()
        return self.b.node(
            "transpose", e, perm=[0, *self.data.draw(st.permutations(range(1, len(self.shape(e)))))]
        )

    def reshape(self):
        e = self.edge()
        rest = self.shape(e)[1:]
        options = [
            [-1, int(np.prod(rest))],
            [-1, *rest],
            [-1, *rest, 1],
            [-1, rest[0], int(np.prod(rest[1:]))],
        ]
        return self.b.node("reshape", e, shape=self.choose([o for o in options if len(o) <= 5]))

    def dense(self):
        return self.b.dense(self.edge(), self.choose([1, 6]), name=f"dense{len(self.edges)}")

    def step(self):
        kinds = [
            self.conv,
            self.conv,
            self.binary,
            self.binary,
            self.unary,
            self.concat,
            self.softmax,
            self.reduce,
            self.slice,
            self.pad,
            self.transpose,
            self.reshape,
            self.dense,
        ]
        e = self.choose(kinds)()
        if len(self.shape(e)) > 1 and np.prod(self.shape(e)[1:]) <= 2048:
            self.edges.append(e)

    def network(self):
        for _ in range(self.data.draw(st.integers(1, 10))):
            self.step()
        return self.b.done(
            *self.data.draw(st.sets(st.sampled_from(self.edges), min_size=1, max_size=3))
        )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 1000), st.sampled_from([1, 2, 3]))
def test_random_networks_equal_numpy(data, seed, batch):
    graph = Draw(data, seed).network()
    x = np.random.default_rng(seed).normal(size=(batch, 3, 4, 6)).astype(np.float32)
    assert_right(graph, x)
