"""Calls of a session: arguments, conversions, outputs, errors, memory."""

import subprocess
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import tersor
from tests import interpreter
from tests.networks import Builder, images, int8_residual_network, residual_network


@pytest.fixture(scope="module")
def graph():
    return residual_network()


@pytest.fixture(scope="module")
def session(graph):
    return tersor.Session(graph)


def two_inputs():
    b = Builder()
    left, right = b.input((4,), "left"), b.input((4,), "right")
    return b.done(
        b.node("sub", left, right, name="difference"), b.node("mul", left, right, name="product")
    )


# --- arguments ----------------------------------------------------------------------------------


def test_names(session):
    assert session.input_names == ("x",)
    assert session.output_names == ("logits",)
    assert "x -> logits" in repr(session)


def test_several_inputs_and_outputs():
    session = tersor.Session(two_inputs())
    a, b = images(3, 1, 4).reshape(3, 4), images(3, 1, 4, seed=2).reshape(3, 4)
    for call in (lambda: session(a, b), lambda: session({"right": b, "left": a})):
        difference, product = call()
        np.testing.assert_array_equal(difference, a - b)
        np.testing.assert_array_equal(product, a * b)


def test_bytes_are_raw_samples_where_the_model_has_preprocessing(graph):
    prepared = tersor.Graph(graph)
    height, width = graph.inputs[0].shape[2:]
    prepare = tersor.Preprocess(scale=1 / 255, mean=0.5, std=0.25, layout="NCHW")
    raw = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    plain = tersor.Session(graph)
    # Without preprocessing bytes are numbers, with it they are samples; floats are never touched.
    chw = np.ascontiguousarray(raw.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(plain(chw), plain(chw.astype(np.float32)))
    prepared.preprocess = prepare.to_dict()
    session = tersor.Session(prepared)
    assert session.preprocess == prepare
    np.testing.assert_array_equal(session(raw), plain(prepare(raw)))
    np.testing.assert_array_equal(session({"x": raw}), plain(prepare(raw)))
    np.testing.assert_array_equal(session(prepare(raw)), plain(prepare(raw)))
    with pytest.raises(ValueError, match="must have shape"):
        session(chw[0, 0])


@pytest.mark.parametrize(
    "view", ["fortran", "reversed", "sliced", "transposed", "broadcast", "unaligned"]
)
@pytest.mark.parametrize("batch", [1, 7])
def test_any_strides(session, view, batch):
    x = images(batch)
    if view == "fortran":
        given = np.asfortranarray(x)
    elif view == "reversed":
        given = x[:, :, ::-1].copy()[:, :, ::-1]
    elif view == "sliced":
        given = np.repeat(x, 2, axis=0)[::2]
    elif view == "transposed":
        given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif view == "broadcast":
        x = np.repeat(x[:1], batch, axis=0)
        given = np.broadcast_to(x[:1], x.shape)
    else:
        raw = np.empty(x.nbytes + 1, np.uint8)
        raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
        given = raw[1:].view(np.float32).reshape(x.shape)
    np.testing.assert_array_equal(session(given), session(x))


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float16, ml_dtypes.bfloat16, np.uint8, np.int64, bool]
)
def test_other_types_become_float32(session, dtype):
    x = np.abs(images(2) * 3).astype(dtype)
    np.testing.assert_array_equal(session(x), session(x.astype(np.float32)))


def test_lists_and_torch_tensors(session):
    torch = pytest.importorskip("torch")
    x = images(2)
    np.testing.assert_array_equal(session(x.tolist()), session(x))
    np.testing.assert_array_equal(session(torch.from_numpy(x).requires_grad_()), session(x))


def test_integer_inputs_are_checked():
    b = Builder()
    table = b.constant("table", b.floats(10, 4))
    tokens = b.graph.add_input("tokens", "int32", (None, 3))
    session = tersor.Session(b.done(b.node("gather", table, tokens, axis=0)))
    ids = np.array([[1, 2, 9], [0, 0, 3]])
    np.testing.assert_array_equal(session(ids), b.graph.edge("table").constant[ids])
    with pytest.raises(ValueError, match="'tokens' must hold int32 values"):
        session(np.array([[1, 2, 1 << 40]]))
    with pytest.raises(TypeError, match="'tokens' must be int32, got float64"):
        session(ids * 1.0)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda s: s(images(2, 9)),
            ValueError,
            r"input 'x' must have shape \[N, 3, 8, 8\], got \[2, 3, 9, 9\]",
        ),
        (
            lambda s: s(images(1)[0]),
            ValueError,
            r"input 'x' must have shape \[N, 3, 8, 8\], got \[3, 8, 8\]",
        ),
        (lambda s: s(images(1) * 1j), TypeError, "input 'x' must be float32, got complex"),
        (lambda s: s(np.array(["a"])), TypeError, "input 'x' must be float32, got str"),
        (lambda s: s("hello"), TypeError, "input 'x' must be an array of numbers, got str"),
        (lambda s: s(None), TypeError, "input 'x' must be an array of numbers, got NoneType"),
        (lambda s: s(["a"]), TypeError, "must be an array of numbers, got a list of other things"),
        (lambda s: s([[1], [1, 2]]), ValueError, "array of numbers, got lists of different len"),
        (lambda s: s(images(1), images(1)), ValueError, r"inputs must be 1 \(x\), got 2"),
        (lambda s: s({"y": images(1)}), ValueError, "inputs must be named x, got y"),
        (lambda s: s(), ValueError, r"inputs must be 1 \(x\), got 0"),
    ],
)
def test_wrong_inputs(session, call, error, text):
    with pytest.raises(error, match=text):
        call(session)


def test_batches_must_agree():
    with pytest.raises(ValueError, match=r"input 'right' must have a batch of 2 .* got 3"):
        tersor.Session(two_inputs())(np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"arithmetic": "slow"}, "arithmetic must be 'fast' or 'exact', got 'slow'"),
        ({"precision": "fp64"}, "precision must be 'fp32' or 'bf16', got 'fp64'"),
        ({"threads": -1}, r"threads must be in \[0, 1024\], got -1"),
        ({"micro_batch": -2}, "micro_batch must not be negative, got -2"),
        ({"provider": "magic"}, "provider must be .* got magic"),
    ],
)
def test_wrong_options(graph, options, text):
    with pytest.raises(ValueError, match=text):
        tersor.Session(graph, **options)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda g: tersor.Session(g, "2"), "Session: threads must be an integer, got '2'"),
        (lambda g: tersor.Session(g, provider=3), "Session: provider must be a string, got 3"),
        (lambda g: tersor.Session(g, check_finite="no"), "check_finite must be True or False"),
        (lambda g: tersor.Session(g)(images(1), out=3), "out must be an array or a sequence"),
        (lambda g: tersor.Session(g).profile(images(1), repeats=1.5), "repeats must be an integer"),
        (lambda g: tersor.Session(g).run_edges(3, []), "inputs must be a mapping of edge to array"),
        (lambda g: tersor.Session(g).update_weights(3, 3), "name must be text, got 3"),
        (lambda g: tersor.Graph(3), r"Graph: other must be a tersor\.Graph, got int"),
    ],
)
def test_wrong_types(graph, call, text):
    with pytest.raises(TypeError, match=text):
        call(graph)


def test_wrong_model():
    with pytest.raises(
        TypeError, match=r"model must be a tersor.Graph or a compressed model, got str"
    ):
        tersor.Session("model.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite_inputs_on_request(graph, session, value):
    x = images(3)
    x[2, 1, 0, 5] = value
    with pytest.raises(
        ValueError, match=r"input 'x' must be finite, got NaN or infinity at index \[2, 1, 0, 5\]"
    ):
        tersor.Session(graph, check_finite=True)(x)
    with pytest.raises(ValueError, match="must be finite"):
        session.run_tapped(x, edges=["stem"], tap=lambda name, value: None)
    assert not np.isfinite(session(x)[2]).all()
    assert np.isfinite(session(x)[:2]).all()


# --- outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 9, 64, 67])
def test_every_batch_size(graph, session, batch):
    x = images(batch)
    np.testing.assert_allclose(session(x), interpreter.outputs(graph, x)[0], rtol=1e-4, atol=1e-4)


def test_empty_batch(session):
    empty = session(images(0))
    assert empty.shape == (0, 10)
    assert empty.dtype == np.float32


def test_out(session):
    x, out = images(5), np.full((5, 10), np.nan, np.float32)
    assert session(x, out=out) is out
    np.testing.assert_array_equal(out, session(x))
    pair = tersor.Session(two_inputs())
    a = np.ones((2, 4), np.float32)
    outs = [np.empty((2, 4), np.float32) for _ in range(2)]
    assert pair(a, a, out=outs)[1] is outs[1]
    np.testing.assert_array_equal(outs[1], 1)


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (
            np.empty((5, 9), np.float32),
            ValueError,
            r"output 'logits' must have shape \[N, 10\], got \[5, 9\]",
        ),
        (
            np.empty((4, 10), np.float32),
            ValueError,
            "output 'logits' must have a batch of 5, got 4",
        ),
        (np.empty((5, 10)), TypeError, "output 'logits' must be float32"),
        (np.empty((10, 5), np.float32).T, ValueError, "output 'logits' must be contiguous"),
        ([], ValueError, "outputs must be 1, got 0"),
    ],
)
def test_wrong_out(session, out, error, text):
    with pytest.raises(error, match=text):
        session(images(5), out=out)


def test_read_only_out(session):
    out = np.empty((5, 10), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        session(images(5), out=out)


def test_the_model_may_change_or_go(graph):
    copy = graph.clone()
    session = tersor.Session(copy)
    before = session(images(2))
    copy.set_constant("logits.bias", np.full(10, 7, np.float32))
    del copy
    np.testing.assert_array_equal(session(images(2)), before)


# --- memory and precision -----------------------------------------------------------------------


def test_calls_allocate_nothing_but_outputs(session):
    x, out = images(16), np.empty((16, 10), np.float32)
    session(x, out=out)
    peak = session.peak_memory_bytes
    assert peak > 0
    tracemalloc.start()
    for _ in range(50):
        session(x, out=out)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert session.peak_memory_bytes == peak
    assert current < 16 * 1024


def test_micro_batch(graph):
    x = images(13)
    expected = tersor.Session(graph)(x)
    for rows in (1, 3, 5):
        session = tersor.Session(graph, micro_batch=rows)
        assert session.micro_batch == rows
        np.testing.assert_allclose(session(x), expected, rtol=1e-5, atol=1e-5)
    assert 1 <= tersor.Session(graph).micro_batch <= 8


def test_bfloat16_is_close(graph):
    x = images(4)
    full = tersor.Session(graph)(x)
    half = tersor.Session(graph, precision="bf16")(x)
    assert np.abs(half - full).max() < 0.05 * np.abs(full).max()


def test_import_of_the_package_does_not_load_the_runtime():
    code = (
        "import sys, tersor; assert not [m for m in sys.modules if m.startswith('tersor.runtime')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_profile(graph, session):
    profile = session.profile(images(5), repeats=3)
    assert profile.batch == 5
    assert profile.macs == 5 * sum(graph.macs_of(i) for i in range(len(graph.nodes)))
    assert {name for p in profile for name in p.node.split(" + ")} >= {n.name for n in graph.nodes}
    assert all(p.time_us >= 0 and p.kernel and p.bytes > 0 for p in profile)
    assert profile[-1].output_shape == (5, 10)
    assert profile.time_us == pytest.approx(sum(p.time_us for p in profile[:]))
    text = str(profile)
    assert "logits" in text
    assert profile[0].kernel.split()[0] in text
    assert "<pre" in profile._repr_html_()
    assert len(profile.to_dicts()) == len(profile)
    with pytest.raises(ValueError, match="repeats must be positive, got 0"):
        session.profile(images(1), repeats=0)
    with pytest.raises(ValueError, match="must not be empty"):
        session.profile(images(0))


def test_int8_network_is_cheap_to_call():
    graph = int8_residual_network()
    assert tersor.Session(graph)(images(2)).dtype == np.float32


def test_outputs_may_not_share_memory_with_inputs_or_each_other():
    graph = residual_network(8, 8)
    x = np.zeros((4, *graph.inputs[0].shape[1:]), np.float32)
    session = tersor.Session(graph)
    shape = session(x).shape
    out = x.reshape(-1)[-int(np.prod(shape)) :].reshape(shape)
    with pytest.raises(ValueError, match="out must not share memory with an input"):
        session(x, out=out)
