"""Distillation as a callback of the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.data import Augment
from tersor.torch import MSELogitsLoss
from tersor.training import Callback, DistillationCallback, distill, fit
from tests.small_training import PREPROCESS, distillation_loss, images, network


def settings(**more):
    base = {"epochs": 1, "batch_size": 64, "preprocess": PREPROCESS, "progress": False}
    return {**base, **more}


class CountingTeacher(nn.Module):
    """Counts the rows it is asked about."""

    def __init__(self):
        super().__init__()
        self.inner = network(5)
        self.rows = 0

    def forward(self, x):
        assert not torch.is_grad_enabled()
        assert not self.training
        self.rows += len(x)
        return self.inner(x)


def test_first_step_equals_a_hand_written_one():
    x, y = images(64)
    teacher, ours, plain = network(5).eval(), network(), network()
    distill(teacher, ours, (x, y), loss=distillation_loss,
            **settings(momentum=0.0, weight_decay=0.0, schedule="constant"))  # fmt: skip
    inputs = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    loss = distillation_loss(plain(inputs), teacher(inputs).detach(), torch.from_numpy(y))
    loss.backward()
    with torch.no_grad():
        for ours_p, p in zip(ours.parameters(), plain.parameters(), strict=True):
            np.testing.assert_allclose(ours_p, p - 0.1 * p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_default_loss_is_the_combined_one(smoothing):
    def by_hand(student, teacher, labels):
        hard = nn.functional.cross_entropy(student, labels, label_smoothing=smoothing)
        soft = nn.functional.kl_div(
            nn.functional.log_softmax(student / 3, 1),
            nn.functional.log_softmax(teacher / 3, 1),
            log_target=True,
            reduction="batchmean",
        )
        return 0.2 * hard + 0.8 * 9 * soft

    teacher, ours, plain = network(5), network(), network()
    a = distill(teacher, ours, images(), temperature=3.0, alpha=0.2,
                **settings(label_smoothing=smoothing, mixup=0.2))  # fmt: skip
    b = distill(teacher, plain, images(), loss=by_hand, **settings(mixup=0.2))
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for x, y in zip(ours.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(x.detach(), y.detach(), rtol=1e-3, atol=1e-5)


def test_the_teacher_is_not_changed():
    teacher = network(5)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    distill(teacher, network(), images(), loss=distillation_loss, **settings(epochs=2))
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kind", ["graph", "session"])
def test_a_session_teaches_as_its_module_does(kind):
    module = network(5).eval()
    graph = tersor.from_torch(module, torch.zeros(1, 3, 8, 8))
    teacher = graph if kind == "graph" else tersor.Session(graph)
    one, two = network(), network()
    options = settings(epochs=2, augment=Augment(crop=1, flip=True), mixup=0.2, learning_rate=0.02)
    a = distill(module, one, images(), loss=distillation_loss, **options)
    b = distill(teacher, two, images(), loss=distillation_loss, **options)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for x, y in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(x.detach(), y.detach(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("augment", "cache", "asked"),
    [
        (None, None, 1),
        (None, False, 3),
        (Augment(flip=True), None, 3),
        (Augment(flip=True, variants=2), True, 2),
    ],
    ids=["plain", "refused", "ever new", "two variants"],
)
def test_logits_are_kept_where_images_repeat(augment, cache, asked):
    teacher, again = CountingTeacher(), CountingTeacher()
    student, reference = network(), network()
    options = settings(epochs=3, augment=augment)
    distill(teacher, student, images(), loss=distillation_loss, cache_teacher=cache, **options)
    assert teacher.rows == asked * 256
    distill(again, reference, images(), loss=distillation_loss, cache_teacher=False, **options)
    for a, b in zip(student.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-4, atol=1e-6)


def test_logits_in_a_file_serve_the_next_run(tmp_path):
    options = settings(loss=distillation_loss, cache_teacher=tmp_path / "teacher.npy")
    first, second = CountingTeacher(), CountingTeacher()
    one, two = network(), network()
    distill(first, one, images(), **options)
    distill(second, two, images(), **options)
    assert (first.rows, second.rows) == (256, 0)
    assert torch.equal(one[0].weight, two[0].weight)
    with pytest.raises(
        ValueError,
        match=r"cache_teacher must be a file of the same teacher.*\(samples, data differs",
    ):
        distill(second, two, images(128), **options)


@pytest.mark.parametrize("what", ["teacher", "data", "classes"])
def test_logits_in_a_file_are_not_used_for_something_else(tmp_path, what):
    options = settings(loss=distillation_loss, cache_teacher=tmp_path / "teacher.npy")
    x, y = images()
    distill(network(5), network(), (x, y), **options)
    teacher = {"teacher": network(6), "data": network(5), "classes": network(5, classes=5)}[what]
    other = (x // 2, y) if what == "data" else (x, y)
    with pytest.raises(ValueError, match="cache_teacher must be a file of the same teacher"):
        distill(teacher, network(), other, **options)


@pytest.mark.parametrize("content", [b"junk", b"", "zeros without a key"])
def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "teacher.npy"
    if isinstance(content, bytes):
        distill(network(5), network(), images(), loss=distillation_loss, cache_teacher=path,
                **settings())  # fmt: skip
        path.write_bytes(content)
    else:
        np.save(path, np.zeros((1, 256, 4), np.float32))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="distill: cache_teacher must"):
        distill(network(5), network(), images(), loss=distillation_loss, cache_teacher=path,
                **settings())  # fmt: skip
    assert path.read_bytes() == before


def test_a_file_of_logits_appears_whole(tmp_path, monkeypatch):
    # Killed while the file was filled with NaN: what lies there is a part under another name.
    def die(*_):
        raise KeyboardInterrupt

    path = tmp_path / "teacher.npy"
    options = settings(loss=distillation_loss, cache_teacher=path)
    with monkeypatch.context() as patch:
        patch.setattr("tersor.training.teacher.os.link", die)
        with pytest.raises(KeyboardInterrupt):
            distill(network(5), network(), images(), **options)
    assert not path.exists()
    distill(network(5), network(), images(), **options)
    assert not np.isnan(np.load(path)).any()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


class StopAfter(Callback):
    """Interrupts a run after some steps."""

    def __init__(self, steps):
        self.left = steps

    def on_step_end(self, state):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def interrupted(tmp_path, teacher, data=None, *, steps=3, **options):
    """A checkpoint in the middle of the second epoch."""
    options = settings(epochs=3, checkpoint_dir=tmp_path, checkpoint_steps=1, **options)
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, network(), data or images(), callbacks=[StopAfter(steps)], **options)
    return {**options, "resume": True}


def test_resume_is_exact_with_logits_in_memory(tmp_path):
    # Matrix products round differently in batches of other sizes and orders.
    torch.manual_seed(3)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(192, 50), nn.ReLU(), nn.Linear(50, 4))
    data = images(70)
    base = {"batch_size": 13, "checkpoint_dir": tmp_path / "a", "checkpoint_steps": 3, "epochs": 4}
    whole = network()
    distill(teacher, whole, data, **settings(**base))
    base |= {"checkpoint_dir": tmp_path / "b"}
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, network(), data, callbacks=[StopAfter(13)], **settings(**base))
    resumed = network()
    distill(teacher, resumed, data, **settings(**base, resume=True))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 9.0}, {"alpha": 0.9}, {"loss": distillation_loss}, "teacher", "data", "fit"],
    ids=["temperature", "alpha", "loss", "teacher", "data", "fit"],
)
def test_a_checkpoint_is_for_the_same_distillation(tmp_path, change):
    options = interrupted(tmp_path, network(5))
    x, y = images()
    if change == "fit":
        with pytest.raises(ValueError, match="fit: settings must be those of the checkpoint"):
            fit(network(), (x, y), **options)
        return
    teacher = network(6 if change == "teacher" else 5)
    more = change if isinstance(change, dict) else {}
    data = (x // 2, y) if change == "data" else (x, y)
    with pytest.raises(ValueError, match="fit: settings must be those of the checkpoint"):
        distill(teacher, network(), data, **options, **more)


def test_a_loss_of_two_logits_serves():
    student = network()
    history = distill(network(5), student, images(), loss=MSELogitsLoss(), **settings(epochs=2))
    assert history["loss"][1] < history["loss"][0]


def test_options_that_would_not_count_are_refused():
    with pytest.raises(ValueError, match="label_smoothing must be 0 where loss is given"):
        distill(network(5), network(), images(), loss=distillation_loss,
                **settings(label_smoothing=0.5))  # fmt: skip
    with pytest.raises(ValueError, match="loss must be None where a callback computes the loss"):
        fit(network(), images(), loss=nn.functional.cross_entropy,
            callbacks=[DistillationCallback(network(5))], **settings())  # fmt: skip


def test_the_teacher_keeps_its_order_in_memory():
    teacher = network(5)
    distill(teacher, network(), images(), **settings())
    assert teacher[0].weight.is_contiguous()


def test_a_cache_of_images_that_never_repeat_is_refused():
    for more in ({"mixup": 0.2}, {"augment": Augment(flip=True)}):
        with pytest.raises(ValueError, match="cache_teacher must be False where images never"):
            distill(network(), network(), images(), cache_teacher=True,
                    loss=distillation_loss, **settings(**more))  # fmt: skip


def test_distillation_combines_with_other_callbacks():
    class Mask(Callback):
        """Pruning in two lines."""

        def after_step(self, state):
            with torch.no_grad():
                state.model[0].weight[:4] = 0

    student = network()
    distillation = DistillationCallback(network(5), loss=distillation_loss)
    fit(student, images(), callbacks=[distillation, Mask()], **settings())
    assert not student[0].weight[:4].any()
    assert student[0].weight[4:].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "distill: temperature must be > 0 and finite, got 0.0"),
        ({"temperature": float("inf")}, "distill: temperature must be > 0 and finite, got inf"),
        ({"alpha": 1.5}, r"distill: alpha must be in \[0, 1\], got 1.5"),
        ({"alpha": float("nan")}, r"distill: alpha must be in \[0, 1\], got nan"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        distill(network(), network(), images(), **options, **settings())


def test_bad_teachers():
    options = {"loss": distillation_loss, **settings()}
    with pytest.raises(ValueError, match="teacher must have the student's 4 classes, got 5"):
        distill(network(classes=5), network(), images(), **options)
    with pytest.raises(ValueError, match="outputs of the teacher must be logits of shape"):
        distill(nn.Identity(), network(), images(), **options)
    with pytest.raises(TypeError, match="model must be a tersor"):
        distill("teacher", network(), images(), **options)
