"""The search under a budget: exact allocation, measured candidates, lines that hold, reasons."""

import itertools
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor.compress import Recipe
from tersor.compress.calibrate import network_batches
from tersor.compress.float_twin import float_twin
from tersor.compress.removed_channels import units_mask, units_text
from tersor.compress.search import Candidate, allocate_budgets, measure_layers
from tersor.compress.search import search as searching
from tersor.targets.budget import Budget, format_line
from tersor.zoo import load_digits_data, load_digits_network
from tests.compress.networks import images, residual


@pytest.fixture(scope="module")
def digits():
    return load_digits_network()


@pytest.fixture(scope="module")
def samples():
    return load_digits_data("calibration")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Layers of one network are measured once for all budgets."""
    return tmp_path_factory.mktemp("layers")


def top1(model):
    data = load_digits_data("test")
    logits = tersor.Session(model)(data.x)
    return float((logits.argmax(1) == data.y).mean())


def brute_force(losses, costs, budgets):
    best = None
    for picks in itertools.product(*[range(len(x)) for x in losses]):
        used = sum(costs[i][j] for i, j in enumerate(picks))
        if (used <= budgets).all():
            loss = sum(losses[i][j] for i, j in enumerate(picks))
            best = loss if best is None else min(best, loss)
    return best


@given(
    seed=st.integers(0, 10_000),
    layers=st.integers(1, 5),
    resources=st.integers(1, 3),
    tight=st.floats(0.0, 1.1),
)
def test_allocation_is_the_optimum(seed, layers, resources, tight):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, layers)
    losses = [rng.integers(0, 20, n).astype(float) for n in counts]
    costs = [rng.integers(0, 20, (n, resources)).astype(float) for n in counts]
    least = sum(c.min(axis=0) for c in costs)
    most = sum(c.max(axis=0) for c in costs)
    budgets = np.floor(least + tight * (most - least))
    wanted = brute_force(losses, costs, budgets)
    found = allocate_budgets(losses, costs, budgets)
    if wanted is None:
        assert found is None
        return
    assert found is not None
    assert found.exact
    assert found.loss == found.bound == wanted
    assert (found.used <= budgets).all()
    assert found.loss == sum(x[j] for x, j in zip(losses, found.choices, strict=True))


def test_allocation_of_many_layers_is_bounded():
    rng = np.random.default_rng(0)
    size = np.geomspace(1, 40, 25)
    losses = [rng.uniform(0.5, 2) / size for _ in range(30)]
    costs = [np.stack([size, rng.uniform(1, 2, 25)], 1) * rng.uniform(1, 9) for _ in range(30)]
    budgets = 0.3 * sum(c.max(axis=0) for c in costs) + [0, 1e3]
    found = allocate_budgets(losses, costs, budgets)
    assert found.bound <= found.loss <= found.bound * 1.01 + 1e-9
    assert (found.used <= budgets).all()
    assert allocate_budgets([], [], [1.0]).choices == []
    assert allocate_budgets([[1.0]], [[[5.0]]], [4.0]) is None


def test_candidates_are_kept_and_read_again(digits, samples, tmp_path):
    plain = float_twin(digits)
    prepare = tersor.Preprocess(**digits.preprocess)
    batches = list(network_batches(plain, samples, prepare, limit=64))
    seen = []

    def stop(stage, done, total):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_layers(plain, batches, cache=tmp_path, progress=stop)
    (folder,) = tmp_path.iterdir()
    kept = sorted(folder.iterdir())
    assert len(kept) == 3
    first = kept[0].stat().st_mtime_ns
    entries = measure_layers(plain, batches, cache=tmp_path)
    assert kept[0].stat().st_mtime_ns == first
    again = measure_layers(plain, batches, cache=tmp_path)
    assert again == entries == measure_layers(plain, batches, threads=2)
    kept[1].write_text("{")  # a file that is not whole is measured again
    assert measure_layers(plain, batches, cache=tmp_path) == entries
    for entry in entries:
        rated = [c for c in entry.candidates if c.format.is_rated and not c.sparsity]
        assert all(a.nbytes <= b.nbytes for a, b in itertools.pairwise(rated))
        assert all(a.error >= b.error for a, b in itertools.pairwise(rated))
        assert all(Candidate.from_plain(c.to_plain()) == c for c in entry.candidates)
        assert entry.importance > 0
    other = [[batches[0][0] * 2]]
    measure_layers(plain, other, kind="int8", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_size_is_filled(digits, samples, tmp_path, cache):
    model = tersor.compress(digits, budget="size=12KB", calibration=samples, cache=cache)
    assert 0.95 * 12288 <= model.nbytes <= 12288
    assert top1(model) > 0.985
    path = tmp_path / "d.tersor"
    model.save(path)
    assert path.stat().st_size == model.nbytes
    # The recipe is the whole plan.
    again = tersor.compress(digits, recipe=Recipe.from_yaml(model.recipe.to_yaml()),
                            calibration=samples)  # fmt: skip
    assert again.nbytes == pytest.approx(model.nbytes, abs=64)
    np.testing.assert_array_equal(
        tersor.Session(again)(samples.x), tersor.Session(model)(samples.x)
    )
    tried = model.provenance["search"]["tried"]
    assert tried[0]["recipe"] == "int8"
    assert not tried[0]["keeps"]


def test_what_int8_keeps_stays_int8(digits, samples):
    model = tersor.compress(digits, budget="size=64KB", calibration=samples)
    assert model.recipe == Recipe()
    plain = tersor.compress(digits, calibration=samples)
    np.testing.assert_array_equal(
        tersor.Session(model)(samples.x), tersor.Session(plain)(samples.x)
    )


@pytest.mark.filterwarnings("ignore:compress. the")
def test_the_smallest_file_of_an_accuracy(digits, samples, cache):
    budget = "accuracy_drop=1%"
    model = tersor.compress(digits, budget=budget, calibration=samples, cache=cache)
    assert model.nbytes < 8000
    assert model.provenance["search"]["expected_drop"] <= 0.01
    assert top1(model) > top1(digits) - 0.015


def test_microcontrollers_are_filled_with_generated_c(digits, samples, tmp_path, cache):
    budget = {"ram": "8 KB", "flash": "36 KB"}
    model = tersor.compress(digits, "stm32l4r5", budget, calibration=samples, cache=cache)
    assert all(e.dtype != "float32" for e in model.graph.edges if e.is_constant)
    written = model.export(tmp_path / "c", format="c", target="stm32l4r5")
    assert written.nbytes > 0
    figures = model.provenance["search"]["tried"][-1]
    assert figures["flash"] <= 36 * 1024
    assert figures["ram"] <= 8 * 1024


@pytest.mark.filterwarnings("ignore:compress. the")
def test_channels_go_where_int8_is_too_slow(digits, samples):
    usual = tersor.compress(digits, "stm32l4r5", {"latency": "1 s"}, calibration=samples)
    seconds = usual.provenance["search"]["tried"][0]["latency"]
    budget = {"latency": 0.7 * seconds, "size": "24 KB"}
    model = tersor.compress(digits, "stm32l4r5", budget, calibration=samples)
    assert model.recipe.channels is not None
    assert model.graph.macs < usual.graph.macs
    assert model.provenance["on_target"]["latency"]["seconds"] <= 0.7 * seconds
    assert model.nbytes <= 24 * 1024
    assert top1(model) > 0.9
    again = tersor.compress(digits, recipe=model.recipe, calibration=samples)
    np.testing.assert_array_equal(
        tersor.Session(again)(samples.x), tersor.Session(model)(samples.x)
    )


@pytest.mark.filterwarnings("ignore:compress. the")
@pytest.mark.parametrize(
    ("target", "budget", "texts"),
    [
        (None, "size=1KB", ["size is", "size: layer block2.conv. binds", "what would fit: size="]),
        (None, "latency=10ns", ["latency is", "latency: layer .* binds", "fit: latency="]),
        ("stm32l4r5", "ram=0.1KB", ["ram is", "ram: layer .* binds: .* alive", "fit: ram="]),
        ("stm32l4r5", "flash=13KB", ["flash is", "flash: layer .* binds", "fit: flash="]),
    ],
)
def test_what_nothing_keeps_is_explained(digits, samples, cache, target, budget, texts):
    with pytest.raises(tersor.BudgetError) as caught:
        tersor.compress(digits, target, budget, calibration=samples, cache=cache)
    message = str(caught.value)
    assert message.startswith("budget not met: ")
    for text in texts:
        assert re.search(text, message), message
    assert caught.value.misses
    # What would fit can be read again, and is more than was asked for.
    fits = message.partition("what would fit: ")[2].partition(" (")[0]
    line = budget.partition("=")[0]
    wanted = Budget.parse(budget).to_dict()[line]
    assert Budget.parse(fits).to_dict()[line] > wanted


def test_what_would_fit_does(digits, samples, cache):
    with pytest.raises(tersor.BudgetError) as caught:
        tersor.compress(digits, budget="size=2KB", calibration=samples, cache=cache)
    fits = str(caught.value).partition("what would fit: ")[2].partition(" (")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tersor.compress(digits, budget=fits, calibration=samples, cache=cache)
    assert model.nbytes <= Budget.parse(fits).size


@pytest.mark.filterwarnings("ignore:compress. the")
def test_time_and_interruptions_keep_the_best(tmp_path, monkeypatch):
    graph, x = residual(), images(64)

    def compress(size, **options):
        return tersor.compress(graph, budget={"size": size}, calibration=x, **options)

    model = compress("2.2 KB", time_budget=1e-3)
    assert model.nbytes <= 2.2 * 1024
    assert model.provenance["search"]["time_budget"] == "used up"

    def interrupted(task, allocator, verifier, columns, found, base):
        found.append(verifier.try_recipe(Recipe("w3a32")))
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "fit", interrupted)
    model = compress("2.2 KB", cache=tmp_path)
    assert model.recipe.name == "w3a32"
    assert model.provenance["search"]["interrupted"]
    with pytest.raises(KeyboardInterrupt):  # nothing was found that keeps it
        compress("1 KB", cache=tmp_path)


def test_residual_networks_under_two_lines():
    graph = residual()
    x = images(128)
    budget = {"size": "4 KB", "ram": "1 MB"}
    model = tersor.compress(graph, budget=budget, calibration=x)
    assert model.nbytes <= 4096
    wanted, got = tersor.Session(graph)(x), tersor.Session(model)(x)
    assert np.square(wanted - got).sum() < 0.1 * np.square(wanted).sum()


def test_units_are_text():
    rng = np.random.default_rng(0)
    for count in (1, 3, 4, 8, 13, 64, 301):
        kept = rng.random(count) < 0.5
        np.testing.assert_array_equal(units_mask(units_text(kept), count), kept)
    with pytest.raises(ValueError, match="channels must have 2 digits"):
        units_mask("abc", 8)
    for value, error in (("xyz", ValueError), ("", ValueError), (3, TypeError)):
        with pytest.raises(error, match="channels must be hexadecimal digits"):
            Recipe(channels=value)


def test_prices_and_sparsities_of_layers():
    layer = tersor.compress.LayerFormat("rate-distortion", price=1e-4)
    assert tersor.compress.LayerFormat.parse(layer.to_plain(), "x") == layer
    assert not Recipe("fp32", layers={"a": layer}).is_unpriced
    for value, error in ((0, ValueError), (True, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="price"):
            tersor.compress.LayerFormat("rate-distortion", price=value)
    with pytest.raises(ValueError, match="price is for 'rate-distortion'"):
        tersor.compress.LayerFormat("int8", price=1.0)
    graph = residual()
    done = tersor.compress.prune(graph, images(), layers={"inner": 0.5})
    assert set(done.masks) == {"inner"}
    assert done.masks["inner"].mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="layers must be ones with weights to prune, got 'x'"):
        tersor.compress.prune(graph, images(), layers={"x": 0.5})


def test_quantities_that_would_fit_are_read_again():
    rng = np.random.default_rng(0)
    for line in ("size", "ram", "flash", "latency", "energy", "accuracy_drop"):
        for value in 10 ** rng.uniform(-6, -0.01 if line == "accuracy_drop" else 1, 30):
            amount = 1e6 * value if line in ("size", "ram", "flash") else value
            text = format_line(line, amount, up=True)
            read = Budget.parse(f"{line}={text}").to_dict()[line]
            assert amount <= read * (1 + 1e-9)
            assert read <= amount * 1.02 + (128 if line in ("size", "ram", "flash") else 1e-3)
