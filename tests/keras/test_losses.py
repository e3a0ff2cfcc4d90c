"""Keras losses on the torch backend: kernels against keras.ops, model.fit, Keras's Distiller."""

from __future__ import annotations

import os

import numpy as np
import pytest

if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = pytest.importorskip("keras.layers")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

import torch  # noqa: E402

import tersor.keras as tk  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def with_labels(teacher, labels):
    return np.concatenate([np.float32(labels)[:, None], teacher], 1)


LABELS = [0, 3, -100, 4, 1, 2]
CASES = [
    (tk.KDLoss(), (6, 5), (6, 5), False),
    (tk.KDLoss(2.0, 0.3, 0.1), (6, 5), (6, 5), True),
    (tk.KDLoss(standardize=True), (6, 5), (6, 5), True),
    (tk.KLLoss(3.0), (6, 5), (6, 5), False),
    (tk.DKDLoss(2.0, 0.7, 3.0), (6, 5), (6, 5), True),
    (tk.JSDLoss(), (6, 5), (6, 5), False),
    (tk.JSDLoss(0.0, 2.0), (6, 5), (6, 5), True),
    (tk.JSDLoss(1.0), (6, 5), (6, 5), False),
    (tk.MSELogitsLoss(), (6, 5), (6, 5), False),
    (tk.FeatureLoss(), (2, 4, 4, 3), (2, 4, 4, 3), False),
    (tk.AttentionLoss(), (2, 4, 4, 3), (2, 4, 4, 7), False),
    (tk.RelationalLoss(), (6, 5), (6, 9), False),
]


@pytest.mark.parametrize(("loss", "shape", "teacher_shape", "labelled"), CASES)
def test_kernels_equal_keras_ops(loss, shape, teacher_shape, labelled):
    student, teacher = arrays(shape, teacher_shape)
    y_true = torch.from_numpy(with_labels(teacher, LABELS) if labelled else teacher)
    z = torch.from_numpy(student).requires_grad_()
    value = loss(y_true, z)
    (gradient,) = torch.autograd.grad(value, z)
    parts = loss.split(y_true, z)
    expected = loss.formula(z, *parts)
    (expected_gradient,) = torch.autograd.grad(expected, z)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again(y_true, z) == value


def network(width, classes=4):
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(width, activation="relu", name="hidden"),
            layers.Dense(classes, name="logits"),
        ]
    )


def task(rows=256):
    keras.utils.set_random_seed(0)
    (x,) = arrays((rows, 8))
    labels = np.argmax(x[:, :4] + 0.5 * x[:, 4:], 1)
    teacher = network(64)
    teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    teacher.fit(x, labels, epochs=5, verbose=0)
    return x, labels, teacher


def test_loss_in_model_compile():
    """Saved teacher logits as targets."""
    x, labels, teacher = task()
    targets = with_labels(teacher.predict(x, verbose=0), labels)
    student = network(16)
    student.compile(keras.optimizers.Adam(0.01), loss=tk.KDLoss(temperature=2.0, alpha=0.3))
    history = student.fit(x, targets, epochs=8, batch_size=32, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    accuracy = (student.predict(x, verbose=0).argmax(1) == labels).mean()
    assert accuracy > 0.7


def test_loss_in_the_distiller_of_keras(tmp_path):
    distillation = pytest.importorskip("keras.distillation")
    x, labels, teacher = task()
    student = network(64)
    distiller = distillation.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=[
            distillation.FeatureDistillation(loss=tk.KLLoss(4.0)),
            distillation.FeatureDistillation(
                loss=tk.RelationalLoss(), teacher_layer_name="hidden", student_layer_name="hidden"
            ),
        ],
        distillation_loss_weights=[1.0, 0.5],
        student_loss_weight=0.3,
    )
    distiller.compile(
        keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = distiller.fit(x, labels, epochs=6, batch_size=32, verbose=0).history
    assert history["distillation_loss"][-1] < 0.5 * history["distillation_loss"][0]
    assert (student.predict(x, verbose=0).argmax(1) == labels).mean() > 0.7


def test_bad_input():
    student, teacher = arrays((6, 5), (6, 5))
    with pytest.raises(ValueError, match="kd_loss: sample_weight must be None"):
        tk.KDLoss()(teacher, student, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match="dkd_loss: y_true must have 6 columns"):
        tk.DKDLoss()(teacher, student)
    with pytest.raises(ValueError, match="jsd_loss: y_true must have 5 or 6 columns"):
        tk.JSDLoss()(teacher[:, :4], student)
    with pytest.raises(ValueError, match="temperature must be finite and > 0"):
        tk.KDLoss(temperature=0)
    teacher[2, 3] = np.nan
    with pytest.raises(ValueError, match="teacher logits must be numbers"):
        tk.KDLoss()(teacher, student)


@pytest.mark.parametrize("loss", [tk.KDLoss(), tk.KDLoss(alpha=1.0), tk.KLLoss(), tk.DKDLoss(),
                                  tk.JSDLoss()])  # fmt: skip
@pytest.mark.parametrize("label", [-3, 5, 1.5])
def test_labels_that_are_no_class(loss, label):
    student, teacher = arrays((6, 5), (6, 5))
    y_true = torch.from_numpy(with_labels(teacher, [0, 3, -100, label, 1, 2]))
    z = torch.from_numpy(student)
    says = "labels must be whole numbers, got 1.5" if label == 1.5 else "labels must be in"
    with pytest.raises(ValueError, match=says):
        loss(y_true, z)
    # A captured graph cannot raise.
    if label != 1.5:
        assert loss.formula(z, *loss.split(y_true, z)).isnan()


def test_fractions_in_a_captured_graph(monkeypatch):
    from tersor.keras import torch_backend

    monkeypatch.setattr(torch_backend, "check_whole", lambda *_: None)
    student, teacher = (torch.from_numpy(x) for x in arrays((6, 5), (6, 5)))
    y_true = torch.cat([torch.tensor([[0], [1], [2], [0.5], [1], [-100]]), teacher], 1)
    loss = tk.KDLoss()
    assert loss.formula(student, *loss.split(y_true, student)).isnan()


@pytest.mark.parametrize("loss", [tk.JSDLoss(), tk.JSDLoss(0.1), tk.JSDLoss(1.0), tk.KDLoss(),
                                  tk.KLLoss(), tk.DKDLoss()])  # fmt: skip
def test_confident_logits_in_the_formula(loss):
    z = torch.tensor([[60.0, 0.0, -60.0], [1.0, 2.0, -torch.inf], [0.0, 1.0, 0.0]])
    t = torch.tensor([[60.0, 0.0, -60.0], [2.0, 0.0, -torch.inf], [0.0, 1.0, 0.0]])
    y = torch.tensor([0, 1, -100])
    y_true = torch.cat([y.unsqueeze(1).float(), t], 1)
    z.requires_grad_()
    value = loss.formula(z, t, y)
    torch.testing.assert_close(value, loss(y_true, z), rtol=1e-4, atol=1e-5)
    assert torch.autograd.grad(value, z)[0].isfinite().all()


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("loss", [tk.KDLoss(), tk.KDLoss(standardize=True), tk.KLLoss(),
                                  tk.DKDLoss(), tk.JSDLoss()])  # fmt: skip
def test_ignored_rows_may_hold_anything(loss, kernels, monkeypatch):
    from tersor.keras import torch_backend

    if not kernels:
        monkeypatch.setattr(torch_backend, "can_run", lambda *_: False)
    student, teacher = arrays((6, 5), (6, 5))
    labels = [0, 3, -100, -100, 1, 2]
    expected = loss(torch.from_numpy(with_labels(teacher, labels)), torch.from_numpy(student))
    student[2, 1], student[3] = np.nan, np.inf
    teacher[2] = np.nan
    z = torch.from_numpy(student).requires_grad_()
    value = loss(torch.from_numpy(with_labels(teacher, labels)), z)
    (gradient,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, check_device=False)
    assert gradient.isfinite().all()
    assert not gradient[2:4].any()
