"""The training loop in one process."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from tersor.data import Augment
from tersor.training import Callback, EarlyStopping, evaluate, fit
from tests.small_training import CLASSES, PREPROCESS, images, network


def train(model, data=None, **options):
    """Fit in silence."""
    settings = {"epochs": 1, "batch_size": 64, "preprocess": PREPROCESS, "progress": False}
    return fit(model, images() if data is None else data, **{**settings, **options})


def assert_close_weights(a, b, rtol):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        x, y = x.double(), y.double()
        assert (x - y).norm() <= rtol * y.norm(), name


def test_fit_learns_and_says_so():
    model = network()
    history = train(model, epochs=4, batch_size=32, validation=images(seed=1))
    assert history["validation_accuracy"][-1] > 0.9
    assert history["loss"][-1] < history["loss"][0]
    assert history["epoch"] == [1, 2, 3, 4]
    assert not model.training
    row = history.rows[-1]
    figures = evaluate(model, images(seed=1), preprocess=PREPROCESS)
    assert figures["accuracy"] == row["validation_accuracy"]
    assert figures["loss"] == pytest.approx(row["validation_loss"], rel=1e-6)


def test_first_step_equals_a_hand_written_one():
    """SGD with Nesterov momentum, weight decay on matrices only, against PyTorch's own pieces."""
    x, y = images(32)
    ours, plain = network(), network()
    train(ours, (x, y), batch_size=32, learning_rate=0.1, weight_decay=0.01,
          schedule="constant", label_smoothing=0.1)  # fmt: skip
    decay = [p for p in plain.parameters() if p.ndim > 1]
    rest = [p for p in plain.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest}],
        lr=0.1, momentum=0.9, nesterov=True,
    )  # fmt: skip
    inputs = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    loss = nn.functional.cross_entropy(plain(inputs), torch.from_numpy(y), label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    assert_close_weights(ours, plain, 1e-5)


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for seed in (3, 3, 4):
        model = network(dropout=0.3)
        torch.manual_seed(len(runs))  # what the caller drew before does not matter
        train(model, epochs=2, seed=seed, augment=Augment(crop=1, flip=True), mixup=0.3)
        runs.append(model.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not torch.equal(runs[0]["0.weight"], runs[2]["0.weight"])


@pytest.mark.parametrize(("channels", "last"), [(4, False), (8, True)])
def test_narrow_strided_convolutions_train_in_row_major_memory(channels, last):
    # With the channels last, PyTorch 2.13 writes beyond a buffer in the gradient of such a layer.
    strided = nn.Conv2d(channels, 8, 1, stride=2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)]
    model = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), strided, *head)
    seen = set()
    strided.register_forward_pre_hook(
        lambda module, args: seen.add(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    train(model, epochs=4)
    assert seen == {last}
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    torch.manual_seed(5)
    train(model)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_equals_the_large_batch(parts):
    """Without BatchNorm: 4 x 64 is 256, to rounding."""
    whole, split = network(norm=False), network(norm=False)
    data = images(512)
    options = {"epochs": 2, "learning_rate": 0.05, "augment": Augment(crop=1, flip=True)}
    one = train(whole, data, batch_size=256, **options)
    many = train(split, data, batch_size=256 // parts, accumulate=parts, **options)
    assert_close_weights(split, whole, 1e-5)
    assert many["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert many["accuracy"] == one["accuracy"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_fp32(precision):
    full, mixed = network(), network()
    train(full, epochs=2, learning_rate=0.05)
    history = train(mixed, epochs=2, learning_rate=0.05, precision=precision)
    assert_close_weights(mixed, full, 0.05)
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert ("loss_scale" in history.names) == (precision == "fp16")


class Overflow(Callback):
    """Make a gradient infinite at one step, and look at what follows."""

    def __init__(self, step):
        self.step = step
        self.scales, self.stepped = [], []

    def on_fit_begin(self, state):
        weight = state.model[0].weight
        self._weight = weight
        weight.register_hook(lambda g: g * torch.inf if state.global_step == self.step else g)

    def on_step_begin(self, state):
        self._before = self._weight.detach().clone()
        self._moved = False

    def after_step(self, state):
        self._moved = True

    def on_step_end(self, state):
        self.stepped.append(self._moved)
        assert torch.equal(self._before, self._weight) != self._moved
        self.scales.append(state.precision.loss_scale)


def test_an_overflow_skips_the_step_and_halves_the_scale(tmp_path):
    overflow = Overflow(1)
    model = network()
    history = train(
        model, precision="fp16", callbacks=[overflow], checkpoint_dir=tmp_path, epochs=2
    )
    assert overflow.stepped == [True, False] + 6 * [True]
    assert overflow.scales == [65536.0] + 7 * [32768.0]
    assert history["skipped_steps"] == [1, 0]
    assert history["loss_scale"] == [32768.0, 32768.0]
    assert all(torch.isfinite(p).all() for p in model.parameters())


class StopAfter(Callback):
    """Fail after so many steps, as a full disk would."""

    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, state):
        if state.global_step == self.steps:
            raise OSError("no space left")


def test_resume_restores_the_loss_scale(tmp_path):
    options = {"precision": "fp16", "epochs": 2, "checkpoint_dir": tmp_path, "checkpoint_steps": 2}
    with pytest.raises(OSError, match="no space"):
        train(network(), callbacks=[Overflow(1), StopAfter(3)], **options)
    resumed, whole = Overflow(99), Overflow(1)
    model, expected = network(seed=7), network()
    history = train(model, callbacks=[resumed], resume=True, **options)
    train(expected, callbacks=[whole], precision="fp16", epochs=2)
    assert resumed.scales == 6 * [32768.0]
    assert history["skipped_steps"] == [1, 0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_warmup_and_schedule_reach_the_optimizer():
    rates = []

    class Watch(Callback):
        def on_step_begin(self, state):
            rates.append(state.learning_rate)

    train(network(), epochs=4, warmup=1, learning_rate=0.2, callbacks=[Watch()])
    expected = [0.2 * (s + 1) / 4 for s in range(4)]
    expected += [0.1 * (1 + math.cos(math.pi * s / 12)) for s in range(12)]
    assert rates == pytest.approx(expected)
    rates.clear()
    train(network(), epochs=5, schedule="one_cycle", learning_rate=1.0, callbacks=[Watch()])
    assert rates[0] == pytest.approx(1 / 25)
    assert int(np.argmax(rates)) == 6  # 0.3 of 20 steps
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02


def test_ema_is_validated_and_kept():
    values = []

    class Watch(Callback):
        def after_step(self, state):
            values.append(state.model[0].bias.detach().double().clone())

    model = network()
    start = model[0].bias.detach().double().clone()
    history = train(model, epochs=2, ema=0.5, callbacks=[Watch()], validation=images(seed=1))
    average = start
    for t, value in enumerate(values, 1):
        decay = min(0.5, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * value
    np.testing.assert_allclose(model[0].bias.detach(), average, rtol=1e-5)
    figures = evaluate(model, images(seed=1), preprocess=PREPROCESS)
    assert figures["loss"] == pytest.approx(history["validation_loss"][-1], rel=1e-6)


def test_clipping_bounds_the_gradient():
    norms = []

    class Watch(Callback):
        def after_backward(self, state):
            norms.append(float(nn.utils.get_total_norm([p.grad for p in state.model.parameters()])))

    model = network(norm=False)
    before = [p.detach().clone() for p in model.parameters()]
    train(model, clip=1e-3, momentum=0.0, weight_decay=0.0, schedule="constant", learning_rate=1.0,
          batch_size=256, callbacks=[Watch()])  # fmt: skip
    assert norms[0] > 1e-2
    moved = nn.utils.get_total_norm(
        [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
    )
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)


def test_early_stopping_restores_the_best_weights():
    class Spoil(Callback):
        """A model that is best after its second epoch."""

        def on_epoch_end(self, state, metrics):
            metrics["quality"] = {0: 0.1, 1: 0.9}.get(state.epoch, 0.2)
            kept.append(state.weights())

    kept = []
    model = network()
    history = train(model, epochs=9, callbacks=[Spoil(), EarlyStopping(2, monitor="quality")])
    assert len(history) == 4
    assert history.stop_reason == "quality has not improved for 2 epochs"
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[1][name]), name


def test_callbacks_combine_in_order():
    calls = []

    class Recorder(Callback):
        def __init__(self, name):
            self.name = name

        def __getattribute__(self, hook):
            if hook.startswith(("on_", "after_", "modify")):
                calls.append((object.__getattribute__(self, "name"), hook))
            return object.__getattribute__(self, hook)

    train(network(), batch_size=128, callbacks=[Recorder("a"), Recorder("b")])
    hooks = [hook for name, hook in calls if name == "a"]
    step = ["on_step_begin", "modify_loss", "after_backward", "after_step", "on_step_end"]
    assert hooks == [
        "on_fit_begin", "on_epoch_begin", *step, *step, "on_epoch_end", "on_fit_end",
    ]  # fmt: skip
    assert [name for name, _ in calls] == len(hooks) * ["a", "b"]


def test_two_losses_are_refused():
    class Own(Callback):
        def compute_loss(self, state, batch, outputs):
            return outputs.square().mean()

    with pytest.raises(ValueError, match="callbacks must compute at most one loss, got 2"):
        train(network(), callbacks=[Own(), Own()])


def test_a_callback_may_change_the_model():
    class Freeze(Callback):
        def on_fit_begin(self, state):
            state.model[0].weight.requires_grad_(False)
            state.model.register_buffer("mask", torch.ones(3))

    model = network()
    before = model[0].weight.detach().clone()
    train(model, callbacks=[Freeze()])
    assert torch.equal(model[0].weight, before)


def test_floats_pass_untouched_and_other_layouts_work():
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    model = nn.Linear(5, 2)
    history = train(
        model, (x, (x[:, 0] > 0).astype(int)), epochs=10, batch_size=16, preprocess=None
    )
    assert history["accuracy"][-1] > 0.85

    class Watch(Callback):
        def on_step_begin(self, state):
            shapes.add(state.epoch)

        def modify_loss(self, state, batch, outputs, loss):
            shapes.add(tuple(batch.inputs.shape))
            return loss

    shapes = set()
    channels_last = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    channels_last(torch.zeros(1, 8, 8, 3))
    train(channels_last, preprocess={**PREPROCESS, "layout": None}, callbacks=[Watch()])
    assert (64, 8, 8, 3) in shapes


BAD = [
    ({"epochs": 0}, "fit: epochs must be an integer >= 1, got 0"),
    ({"batch_size": 2.5}, "fit: batch_size must be an integer >= 1, got 2.5"),
    ({"learning_rate": 0}, "fit: learning_rate must be a number > 0, got 0"),
    ({"learning_rate": math.nan}, "fit: learning_rate must be a number > 0, got nan"),
    ({"momentum": 1.0}, "fit: momentum must be a number >= 0 and < 1, got 1.0"),
    ({"optimizer": "sdg"}, "fit: optimizer must be one of sgd, adamw, got 'sdg' (did you mean"),
    ({"schedule": "cosin"}, "fit: schedule must be one of constant, linear, cosine, one_cycle"),
    ({"precision": "fp8"}, "fit: precision must be one of fp32, bf16, fp16, got 'fp8'"),
    ({"warmup": 3}, "fit: warmup must be at most epochs (1), got 3"),
    ({"ema": 1.0}, "fit: ema must be a number > 0 and < 1, got 1.0"),
    ({"clip": -1.0}, "fit: clip must be a number > 0, got -1.0"),
    ({"mixup": -1}, "mixing: mixup must be a finite number >= 0, got -1"),
    ({"accumulate": 9}, "fit: batch_size x accumulate x processes must be at most the 256 samples"),
    ({"resume": True}, "fit: checkpoint_dir must be given with resume, got None"),
    ({"preprocess": None}, "fit: preprocess must be given for data of uint8, got None"),
    ({"device": "tpu"}, "fit: device must be 'cpu' or None, got 'tpu'"),
    ({"early_stopping": 2}, "early_stopping: validation_accuracy must be measured, got no"),
    ({"early_stopping": 0}, "early_stopping: patience must be an integer >= 1, got 0"),
    ({"seed": -1}, "fit: seed must be an integer >= 0, got -1"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[next(iter(o)) for o, _ in BAD])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(network(), **options)


def test_bad_data_and_models():
    x, y = images(64)
    with pytest.raises(ValueError, match="fit: data must have labels, got none"):
        train(network(), x)
    with pytest.raises(ValueError, match="labels must be below the 4 classes of the model, got 4"):
        train(network(), (x, np.where(y == 3, 4, y)))
    with pytest.raises(ValueError, match=r"must be logits of shape \(64, classes\), got"):
        train(nn.Conv2d(3, 4, 1), (x, y))
    with pytest.raises(ValueError, match="model must have parameters to train, got none"):
        train(nn.Flatten(), (x, y))
    with pytest.raises(ValueError, match="augment must be None for data of float32"):
        train(network(), (x.astype(np.float32), y), augment=Augment(flip=True))
    broken = network()
    nn.init.constant_(broken[-1].bias, math.nan)
    with pytest.raises(ValueError, match="loss must be finite, got nan in epoch 1, step 1"):
        train(broken, (x, y))
    with pytest.raises(FileNotFoundError, match="resume must name a checkpoint"):
        train(network(), (x, y), resume="nowhere/checkpoint.pt")


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    train(network(), checkpoint_dir=tmp_path)
    message = r"must be those of the checkpoint .*, got seed = 1 \(was 0\)"
    with pytest.raises(ValueError, match=message):
        train(network(), checkpoint_dir=tmp_path, resume=True, seed=1)
    with pytest.raises(ValueError, match="model must be that of the checkpoint"):
        train(network(width=9), checkpoint_dir=tmp_path, resume=True)
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            train(network(), checkpoint_dir=tmp_path, resume=True)


def test_a_finished_run_is_not_run_again(tmp_path):
    first, again = network(), network(seed=1)
    history = train(first, checkpoint_dir=tmp_path, ema=0.9)
    steps = []

    class Watch(Callback):
        def on_step_begin(self, state):
            steps.append(1)

    same = train(again, checkpoint_dir=tmp_path, ema=0.9, resume=True, callbacks=[Watch()])
    assert steps == []
    assert same.rows == history.rows
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_numpy_figures_survive_a_checkpoint(tmp_path):
    class Own(Callback):
        def on_epoch_end(self, state, metrics):
            metrics["own"] = np.float64(1.5)

        def state_dict(self):
            return {"a": np.arange(3), "b": (np.int64(1), [np.bool_(True)])}

        def load_state_dict(self, state):
            self.loaded = state

    options = {"checkpoint_dir": tmp_path, "epochs": 1}
    train(network(), callbacks=[Own()], **options)
    again = Own()
    history = train(network(), callbacks=[again], resume=True, **options)
    assert history["own"] == [1.5]
    assert torch.equal(again.loaded["a"], torch.arange(3))
    assert again.loaded["b"] == (1, [True])


def test_a_state_that_could_not_be_read_back_is_refused_when_saved(tmp_path):
    class Bad(Callback):
        def state_dict(self):
            return {"deep": [object()]}

    with pytest.raises(TypeError, match=r"callbacks.Bad.0.deep\[0\] must be tensors, numbers"):
        train(network(), callbacks=[Bad()], checkpoint_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_needs_its_callbacks(tmp_path):
    class Own(Callback):
        def state_dict(self):
            return {"a": 1}

    train(network(), callbacks=[Own()], checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"callbacks must be those of the checkpoint .*Own\.0"):
        train(network(), checkpoint_dir=tmp_path, resume=True)


def test_three_dimensional_convolutions_train():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6**3, 2))
    x = np.random.default_rng(0).normal(size=(32, 1, 8, 8, 8)).astype(np.float32)
    history = train(model, (x, (x.mean((1, 2, 3, 4)) > 0).astype(int)), preprocess=None,
                    batch_size=16)  # fmt: skip
    assert len(history) == 1


def test_early_stopping_leaves_another_model_alone():
    stopping = EarlyStopping(1)
    train(network(), validation=images(seed=1), early_stopping=stopping)
    other = network(1)
    before = other[0].weight.clone()
    with pytest.raises(ValueError, match="got no validation data"):
        train(other, early_stopping=stopping)
    assert torch.equal(other[0].weight, before)


def test_bad_callbacks_and_evaluation():
    with pytest.raises(TypeError, match="fit: callbacks must be Callback objects, got 1"):
        train(network(), callbacks=[1])
    with pytest.raises(ValueError, match="evaluate: batch_size must be an integer >= 1, got 0"):
        evaluate(network(), images(), preprocess=PREPROCESS, batch_size=0)
    with pytest.raises(ValueError, match="evaluate: precision must be one of fp32"):
        evaluate(network(), images(), preprocess=PREPROCESS, precision="x")
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    with pytest.raises(ValueError, match="cutmix: inputs must be images of 4 dimensions"):
        train(nn.Linear(6, 4), (x, np.arange(64) % 4), preprocess=None, cutmix=1.0)
