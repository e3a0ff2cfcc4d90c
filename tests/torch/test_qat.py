"""Quantization-aware training: what is captured, what is trained, what is deployed."""

from __future__ import annotations

import copy
import io
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tersor
from tersor import zoo
from tersor.torch import FakeQuantize, finalize, prepare_qat, set_qat_phase
from tersor.torch import int8_arithmetic as int8
from tersor.torch.fake_quantize import ActivationQuantizer, WeightQuantizer
from tersor.torch.qat_network import network_of
from tersor.torch.quantized_layer import QuantizedLayer
from tests.torch.qat_networks import Everything, images, trained


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return trained(Everything())


@pytest.fixture(scope="module")
def prepared_once(plain):
    return prepare_qat(plain, "int8", images(2, 0))


@pytest.fixture
def prepared(prepared_once):
    return copy.deepcopy(prepared_once)


@pytest.fixture(scope="module")
def deployed(prepared_once):
    """A trained network, its graph, and samples."""
    network = trained(copy.deepcopy(prepared_once))
    set_qat_phase(network, "freeze")
    trained(network, 2)
    network.eval()
    return network, tersor.from_torch(network, images(2, 0)), images(32, 1)


def compiles(test):
    """torch.compile needs a compiler; PyTorch warns about its own code when it loads it."""
    for mark in (
        pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++"),
        pytest.mark.filterwarnings("ignore::DeprecationWarning"),
        pytest.mark.filterwarnings("ignore::FutureWarning"),
    ):
        test = mark(test)
    return test


def run(network, x):
    with torch.no_grad():
        return network(x).numpy()


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def test_is_a_graph_module_with_quantizers_and_the_names_of_the_plain_one(plain, prepared):
    assert isinstance(prepared, torch.fx.GraphModule)
    assert any(isinstance(m, FakeQuantize) for m in prepared.modules())
    own = prepared.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(own[name], value, rtol=0, atol=0)
    names = {name for name, _ in prepared.named_parameters()}
    assert names == {name for name, _ in plain.named_parameters()}


def test_every_layer_of_the_placement_is_quantized(prepared):
    layers = [m for m in prepared.modules() if isinstance(m, QuantizedLayer)]
    kinds = [m.kind for m in layers]
    assert kinds.count("conv") == 8  # one is the BatchNorm before an activation
    assert kinds.count("dense") == 2
    scales = {m.weight_quantizer.channels for m in layers if m.kind == "dense"}
    assert scales == {None}


def test_plain_checkpoints_load(plain, prepared):
    other = trained(Everything(), 1, seed=3)
    prepared.load_state_dict(other.state_dict())
    set_qat_phase(prepared, "observe")
    x = images(8, 2)
    other.eval()
    np.testing.assert_allclose(run(prepared.eval(), x), run(other, x), rtol=1e-3, atol=1e-4)


def test_finalize_gives_the_plain_module_back(plain, deployed):
    network, _, x = deployed
    module = finalize(network)
    assert type(module) is Everything
    assert not any(isinstance(m, FakeQuantize) for m in module.modules())
    assert not torch.equal(module.stem.weight, plain.stem.weight)
    assert torch.equal(module.stem.weight, network.stem.weight)
    difference = run(module, x) - run(network, x)
    assert np.abs(difference).max() < 0.1 * np.abs(run(module, x)).max()


def test_evaluation_equals_the_session_to_the_last_code(deployed):
    network, graph, x = deployed
    expected = run(network, x)
    np.testing.assert_array_equal(tersor.Session(graph)(x.numpy()), expected)


def test_exact_arithmetic_differs_on_few_codes_of_each_node(deployed):
    _, graph, x = deployed
    fast = tersor.Session(graph)
    exact = tersor.Session(graph, arithmetic="exact")
    edges = graph.edges
    codes = [i for i, e in enumerate(edges) if e.qparams is not None and not e.is_constant]
    values = fast.run_edges({"x": x.numpy()}, [edges[i].name for i in codes])
    for node in graph.nodes:
        inputs = [edges[i].name for i in node.inputs if i in codes]
        output = edges[node.outputs[0]].name
        if not inputs or output not in values:
            continue
        other = exact.run_edges({name: values[name] for name in inputs}, [output])[output]
        difference = np.abs(other.astype(int) - values[output].astype(int))
        assert difference.max() <= 1, node.name
        assert (difference > 0).mean() <= 1e-2, node.name


def test_graph_carries_the_trained_parameters(deployed):
    network, graph, _ = deployed
    edges = graph.edges
    nodes = {node.name: node for node in graph.nodes}
    info = network_of(network)
    assert info is not None
    for name, (path, _) in info.layers.items():
        layer = network.get_submodule(path)
        source, target = layer.ends
        node = nodes[name]
        assert edges[node.inputs[0]].qparams == source.qparams()
        assert edges[node.outputs[0]].qparams == target.qparams()
        weight = edges[node.inputs[1]]
        assert weight.qparams.narrow
        assert weight.constant.dtype == np.int8
        bias = edges[node.inputs[2]].qparams.scale
        expected = source.qparams().scale[0] * weight.qparams.scale
        np.testing.assert_allclose(bias, expected, rtol=1e-6)


def test_recipe_keep_saves_what_was_trained(deployed, tmp_path):
    network, graph, x = deployed
    compressed = tersor.compress(graph, recipe="keep")
    compressed.save(tmp_path / "trained.tersor")
    session = tersor.Session(tersor.load(tmp_path / "trained.tersor"))
    np.testing.assert_array_equal(session(x.numpy()), run(network, x))


def test_training_reduces_the_loss_and_moves_statistics(prepared):
    torch.manual_seed(1)
    without_dropout(prepared)
    x, y = images(32, 5), torch.arange(32) % 10
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05, momentum=0.9)
    before = prepared.stem_norm.running_mean.clone()
    losses = []
    prepared.train()
    for _ in range(40):
        loss = F.cross_entropy(prepared(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert not torch.equal(prepared.stem_norm.running_mean, before)


def test_phases(prepared):
    x = images(8, 3)
    quantizer = next(m for m in prepared.modules() if isinstance(m, ActivationQuantizer))
    set_qat_phase(prepared, "observe")
    prepared.train()
    prepared(x)
    seen = quantizer.hi.clone()
    assert float(seen) > 0
    prepared(2 * x)
    assert float(quantizer.hi) > float(seen)
    set_qat_phase(prepared, "freeze")
    held, mean = quantizer.hi.clone(), prepared.stem_norm.running_mean.clone()
    prepared(4 * x)
    assert torch.equal(quantizer.hi, held)
    assert torch.equal(prepared.stem_norm.running_mean, mean)
    with pytest.raises(
        ValueError, match="phase must be observe, quantize, settle or freeze, got 'stop'"
    ):
        set_qat_phase(prepared, "stop")


def test_dropout_trains(prepared):
    set_qat_phase(prepared, "freeze")
    x = images(4, 3)
    prepared.train()
    set_qat_phase(prepared, "quantize")
    prepared(x)
    set_qat_phase(prepared, "freeze")
    assert not torch.equal(prepared(x), prepared(x))
    prepared.eval()
    assert torch.equal(prepared(x), prepared(x))


@pytest.mark.parametrize("phase", ["observe", "quantize", "freeze"])
def test_autocast(prepared, phase):
    prepared.train()
    prepared(images(8, 0))
    set_qat_phase(prepared, phase)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(prepared(images(8, 1)).float(), torch.arange(8))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in prepared.parameters())
    prepared.eval()
    expected = run(prepared, images(4, 2))
    if phase != "observe":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(run(prepared, images(4, 2)), expected)


def test_compiled_network_trains_alike():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    )
    x = torch.randn(8, 3, 4, 4)
    network = prepare_qat(module, "int8", x)
    network.train()
    network(x)
    twin = copy.deepcopy(network)
    compiled = torch.compile(twin, backend="aot_eager")
    a, b = network(x), compiled(x)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for (name, p), q in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3, msg=name)
    network.eval()
    twin.eval()
    np.testing.assert_allclose(run(compiled, x), run(network, x), atol=1e-5)
    assert isinstance(tersor.from_torch(compiled, x), tersor.Graph)


@pytest.mark.slow
@compiles
@pytest.mark.parametrize("training", [False, True])
def test_compiled_to_machine_code(prepared, training):
    without_dropout(prepared)
    trained(prepared, 1)
    set_qat_phase(prepared, "freeze")
    prepared.train(training)
    x = images(8, 3)
    compiled = torch.compile(copy.deepcopy(prepared), fullgraph=True)
    found, expected = run(compiled, x), run(prepared, x)
    if not training:
        np.testing.assert_array_equal(found, expected)
    # Convolutions in another order of summation: single values may round to the next code.
    assert np.abs(found - expected).mean() <= 1e-2 * np.abs(expected).mean()


@compiles
def test_integer_arithmetic_is_compiled_to_machine_code():
    torch.manual_seed(0)
    output = int8.Codes(*(torch.tensor(v) for v in (0.1, 3.0, -128.0, 127.0)))
    sums = torch.randint(-30_000, 30_000, (4, 16, 5, 5)).double()
    multiplier = torch.rand(16, 1, 1, dtype=torch.float64) * 0.01
    compiled = torch.compile(int8.requantize)(sums, multiplier, output)
    assert torch.equal(compiled, int8.requantize(sums, multiplier, output))


def test_fixed_point_multipliers():
    rng = np.random.default_rng(0)
    edge = 2.0 ** np.arange(-40, 20)
    values = np.concatenate(
        [rng.random(1000) * 2.0 ** rng.integers(-60, 10, 1000), edge, np.nextafter(edge, 0)]
    )
    mantissa, shift = int8._fixed(torch.from_numpy(values))
    fraction, exponent = np.frexp(values)
    wanted = np.floor(fraction * 2.0**31 + 0.5)
    over = wanted == 2.0**31
    wanted, exponent = np.where(over, 2.0**30, wanted), exponent + over
    tiny = exponent < -31
    np.testing.assert_array_equal(mantissa.numpy(), np.where(tiny, 0, wanted))
    np.testing.assert_array_equal(shift.numpy(), np.where(tiny, 0, exponent))


def test_learned_scales_are_trained_and_deployed(plain):
    network = prepare_qat(plain, "w4a8", images(2, 0), learned_scales=True)
    set_qat_phase(network, "observe")
    trained(network, 2)
    set_qat_phase(network, "quantize")
    trained(network, 1)
    weights = [m for m in network.modules() if isinstance(m, WeightQuantizer)]
    before = [m.scale.detach().clone() for m in weights]
    trained(network, 3)
    assert all(not torch.equal(m.scale, scale) for m, scale in zip(weights, before, strict=True))
    assert {m.bits for m in weights} == {4}
    set_qat_phase(network, "freeze")
    x = images(32, 7)
    graph = tersor.from_torch(network.eval(), images(2))
    np.testing.assert_array_equal(tersor.Session(graph)(x.numpy()), run(network, x))
    codes = [e.constant for e in graph.edges if e.is_constant and e.dtype == "int8"]
    assert max(int(np.abs(c.astype(int)).max()) for c in codes) <= 7


def test_layers_of_a_recipe_stay_in_float(plain):
    network = prepare_qat(
        plain, {"layers": {"stem*": "fp32", "last*": {"values": "w4a8", "bits": 6}}}, images(2, 0)
    )
    trained(network, 2)
    x = images(16, 7)
    graph = tersor.from_torch(network.eval(), images(2))
    stem = next(e for e in graph.edges if e.origin == "stem.weight")
    assert stem.dtype == "float32"
    assert next(e for e in graph.edges if e.origin == "last.weight").qparams.bits == 6
    np.testing.assert_allclose(tersor.Session(graph)(x.numpy()), run(network, x), atol=0.05)


def test_state_dict_resumes(prepared, prepared_once):
    trained(prepared, 3)
    other = copy.deepcopy(prepared_once)
    other.load_state_dict(prepared.state_dict())
    x = images(4, 1)
    np.testing.assert_array_equal(run(other.eval(), x), run(prepared.eval(), x))


class Constants(nn.Module):
    """Tensors of the module itself: a literal, a buffer outside of checkpoints, an unused one."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("shift", torch.randn(3), persistent=False)
        self.register_buffer("unused", torch.ones(2))

    def forward(self, x):
        return (torch.sigmoid(self.fc(x)) + self.shift) * torch.tensor([1.0, 2.0, 3.0])


def copied(network):
    return copy.deepcopy(network)


def pickled(network):
    return pickle.loads(pickle.dumps(network))


def saved(network):
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [copied, pickled, saved])
def test_whole_networks_are_copied_and_saved(deployed, again):
    network, _, x = deployed
    other = again(again(network))
    assert list(other.state_dict()) == list(network.state_dict())
    np.testing.assert_array_equal(run(other, x), run(network, x))
    assert torch.equal(finalize(other).stem.weight, network.stem.weight)
    np.testing.assert_array_equal(
        tersor.Session(tersor.from_torch(other, images(2)))(x.numpy()), run(network, x)
    )
    before = network.stem.weight.detach().clone()
    set_qat_phase(other, "quantize")
    trained(other, 1)
    assert not torch.equal(other.stem.weight, before)
    assert torch.equal(network.stem.weight, before)


@pytest.mark.parametrize("again", [copied, pickled])
def test_copies_keep_constants_out_of_checkpoints(again):
    torch.manual_seed(0)
    module, x = Constants(), torch.randn(8, 4)
    network = prepare_qat(module, "int8", x)
    network(x)
    other = again(network)
    assert list(other.state_dict()) == list(network.state_dict())
    assert set(module.state_dict()) <= set(other.state_dict())
    other.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(run(other.eval(), x), run(network.eval(), x))


def test_batches_are_counted_as_in_the_plain_module():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), nn.Conv2d(4, 2, 3)
    )
    x = torch.randn(4, 3, 8, 8)
    network = prepare_qat(module, "int8", x)
    set_qat_phase(network, "observe")
    plain = copy.deepcopy(module)
    for part in (network.train(), plain.train()):
        for i in range(3):
            part(x * (i + 1))
    final = finalize(network)
    assert int(final[1].num_batches_tracked) == 3
    torch.testing.assert_close(final[1].running_mean, plain[1].running_mean)
    torch.testing.assert_close(final[1].running_var, plain[1].running_var)
    set_qat_phase(network, "settle")
    network(x)
    network.eval()(x)
    assert int(network.get_buffer("1.num_batches_tracked")) == 3


def test_gradients_in_evaluation_mode(deployed):
    network, _, x = deployed
    x = x.clone().requires_grad_()
    network(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert float(x.grad.abs().sum()) > 0


def test_refusals(plain, prepared):
    with pytest.raises(TypeError, match=r"prepare_qat: module must be a torch\.nn\.Module"):
        prepare_qat(None, example=images(2))
    with pytest.raises(TypeError, match="prepare_qat: example must be a tensor or a sequence"):
        prepare_qat(plain)
    with pytest.raises(ValueError, match="prepare_qat: module must be a plain module"):
        prepare_qat(prepared, example=images(2))
    with pytest.raises(ValueError, match="prepare_qat: recipe must be int8 or w4a8, got 'bf16'"):
        prepare_qat(plain, "bf16", images(2))
    with pytest.raises(ValueError, match="finalize: module must come from prepare_qat"):
        finalize(plain)
    with pytest.raises(ValueError, match="set_qat_phase: module must come from prepare_qat"):
        set_qat_phase(plain, "freeze")
    with pytest.raises(ValueError, match=r"float32 parameters .* got torch\.float64 for weight"):
        prepare_qat(nn.Linear(2, 2).double(), example=torch.ones(2, 2).double())
    with pytest.raises(ValueError, match=r"example 0 must be float32 or integers, got torch\.fl"):
        prepare_qat(nn.Linear(2, 2), example=torch.ones(2, 2).double())
    with pytest.raises(RuntimeError, match="FakeQuantize: a range is needed"):
        tersor.from_torch(prepared, images(2))


class Computed(nn.Module):
    """A layer whose weight is computed from its parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight * 2)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.ReLU()), "has nothing to quantize"),
        (Computed(), "layer node_conv2d must be one convolution .* got mul"),
    ],
)
def test_networks_without_a_correspondence_are_refused(module, reason):
    with pytest.raises(tersor.UnsupportedError, match=reason):
        prepare_qat(module, "int8", images(2))


class GroupNormed(nn.Module):
    """A node of the module that is several of the int8 network."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.second = nn.Conv2d(4, 2, 3)

    def forward(self, x):
        return self.second(F.relu(self.norm(self.first(x))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.attention(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize(
    ("module", "shape", "named", "layers"),
    [
        (GroupNormed, (3, 8, 8), r"norm\.weight", 2),
        (Attention, (5, 8), r"attention\.in_proj_weight", 1),
    ],
)
def test_operators_without_a_correspondence_stay_in_float(module, shape, named, layers):
    torch.manual_seed(0)
    x = torch.randn(8, *shape)
    with pytest.warns(
        UserWarning, match=f"prepare_qat: {module.__name__} keeps in float .*{named}"
    ):
        network = prepare_qat(module(), "int8", x)
    assert sum(isinstance(m, QuantizedLayer) for m in network.modules()) == layers
    network(x).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    set_qat_phase(network, "freeze")
    network.eval()
    graph = tersor.from_torch(network, x)
    np.testing.assert_allclose(tersor.Session(graph)(x.numpy()), run(network, x), atol=1e-5)


@pytest.mark.parametrize("recipe", ["w4a32", "int8"])
def test_compressed_networks_are_trained_on(recipe):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)).eval()
    x = torch.randn(16, 3, 6, 6)
    compressed = tersor.compress(
        tersor.from_torch(module, x), recipe=recipe, calibration=x.numpy(), progress=False
    )
    again = compressed.to_torch()
    network = prepare_qat(again, "w4a8", x)
    network(x).square().sum().backward()
    set_qat_phase(network, "freeze")
    network.eval()
    graph = tersor.from_torch(network, x)
    np.testing.assert_array_equal(tersor.Session(graph)(x.numpy()), run(network, x))
    assert [graph.edges[i].name for i in graph.input_ids] == again.input_names
    finalize(network)(x)
    if recipe == "int8":
        with pytest.raises(tersor.UnsupportedError, match=r"from_torch: .* rounds_activations"):
            tersor.from_torch(again, x)
        again.rounds_activations = False
    plain = tersor.from_torch(again, x)
    np.testing.assert_allclose(
        tersor.Session(plain)(x.numpy()), run(again, x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet20", "resnet8", "mobilenet_v2", "mobilenet_v3_small", "small_cnn_separable"]
)
def test_architectures_train_and_deploy(name):
    """Every quantized edge corresponds to a value of the captured network, and rounds alike."""
    torch.manual_seed(0)
    module = zoo.create(name, input_size=32)
    x = torch.randn(8, *module.input_shape)
    network = prepare_qat(module, "w4a8", x)
    network.load_state_dict(module.state_dict())
    network.train()
    network(x).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    set_qat_phase(network, "freeze")
    graph = tersor.from_torch(network.eval(), x)
    np.testing.assert_array_equal(tersor.Session(graph)(x.numpy()), run(network, x))
    quantized = sum(node.op in ("conv", "dense") for node in graph.nodes)
    assert quantized == sum(isinstance(m, QuantizedLayer) for m in network.modules())
