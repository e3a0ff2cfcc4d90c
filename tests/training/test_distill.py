"""Distillation as a callback of the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.data import Augment
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
    with pytest.raises(ValueError, match="cache_teacher must be a file of the same data"):
        distill(second, two, images(128), **options)


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
