"""The monitor on digits and CIFAR-10: clean windows, drift, agreement, latency, formats."""

import json
import threading

import numpy as np
import pytest

import tersor
from tersor.serve import Cascade, Monitor
from tersor.serve.features import InputFeatures
from tersor.zoo import load_digits_data, load_digits_network
from tests import datasets


@pytest.fixture(scope="module")
def network():
    return load_digits_network()


@pytest.fixture(scope="module")
def int8(network):
    calibration = load_digits_data("calibration")
    return tersor.compress(network, recipe="int8", calibration=calibration, progress=False)


def brighter(x):
    return np.clip(np.rint(x * 1.1), 0, 255).astype(x.dtype)


def noisy(x, rng):
    return np.clip(np.rint(x + rng.normal(0, 0.05 * 255, x.shape)), 0, 255).astype(x.dtype)


def scores_of(x):
    """A stand-in for a network: three averages."""
    return x.reshape(len(x), -1, 3).mean(axis=1).astype(np.float32) / 64


def feed(monitor, x, batch=64):
    for start in range(0, len(x), batch):
        monitor.observe(x[start : start + batch], seconds=0.001)
    return [alarm.kind for alarm in monitor.alarms]


@pytest.mark.parametrize("calibration", [256, 2048])
def test_cifar10_brightness_and_noise_within_512_images(calibration):
    train, test = datasets.cifar10("train").x, datasets.cifar10("test").x
    rng = np.random.default_rng(calibration)
    x = train[rng.choice(len(train), calibration, replace=False)]
    test = test[rng.permutation(len(test))]
    cases = {
        "brighter": brighter,
        "added": lambda x: np.clip(x + 25.5, 0, 255).astype(np.uint8),
        "darker": lambda x: (x * 0.9).astype(np.uint8),
        "noise": lambda x: noisy(x, rng),
    }
    for start, (name, change) in enumerate(cases.items()):
        # Also as floats, and where the images drift in the middle of a window.
        rows = test[start * 612 : start * 612 + 612]
        for convert in (np.asarray, lambda x: x.astype(np.float32).transpose(0, 3, 1, 2) / 255):
            monitor = Monitor(lambda x: np.stack([x.mean((1, 2, 3))] * 2, 1), convert(x))
            assert feed(monitor, convert(rows[:100])) == [], name
            assert "drift" in feed(monitor, convert(change(rows[100:]))), name


def test_cifar10_clean_windows_raise_no_alarm():
    train, test = datasets.cifar10("train").x, datasets.cifar10("test").x
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = train[rng.choice(len(train), 300, replace=False)]
        monitor = Monitor(scores_of, x)
        feed(monitor, test[rng.permutation(len(test))[: 20 * 256]])
        assert monitor.windows == 20
        assert len(monitor.alarms) <= 1


def test_clean_windows_of_other_data_raise_no_alarm():
    rng = np.random.default_rng(0)
    kinds = {
        "vectors": lambda n: rng.normal(size=(n, 6)).astype(np.float32),
        "series": lambda n: rng.standard_cauchy(size=(n, 40)).cumsum(axis=1).astype(np.float32),
        "bits": lambda n: rng.integers(0, 2, (n, 28, 28, 1)).astype(np.uint8),
        "black": lambda n: np.zeros((n, 16, 16, 3), np.uint8),
    }
    total = 0
    for draw in kinds.values():
        monitor = Monitor(lambda x: np.asarray(x, np.float32).reshape(len(x), -1)[:, :3], draw(400))
        feed(monitor, draw(20 * 128 + 50), 100)
        assert len(monitor.alarms) <= 1
        total += len(monitor.alarms)
    assert total <= 1


def test_false_alarms_keep_to_the_level():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        monitor = Monitor(lambda x: x[:, :3], rng.normal(size=(200, 8)), window=64, alpha=0.05)
        feed(monitor, rng.normal(size=(64 * 10, 8)))
        alarms += len(monitor.alarms)
    # 400 windows at 5 %: 20 expected at most; windows of one monitor share their reference.
    assert alarms <= 36


def test_digits_drift_in_and_out(network):
    x = load_digits_data("calibration").x
    clean = load_digits_data().x
    monitor = Monitor(network, x, window=128)
    assert monitor(clean[:500]).shape == (500, 10)
    assert monitor.alarms == []
    assert monitor.windows == 3
    monitor(clean[:200] // 2)
    assert monitor.alarms[0].kind == "drift"
    assert monitor.alarms[0].features[0].p_value < 1e-4
    assert "KS" in monitor.alarms[0].message


def test_a_change_of_the_classes_is_drift(network):
    data = load_digits_data()
    monitor = Monitor(network, load_digits_data("calibration").x, window=64)
    ones = data.x[data.y == 1]
    feed(monitor, np.concatenate([ones, ones]))
    moved = {f.name for f in monitor.alarms[0].features}
    assert "class" in moved


def test_agreement_with_the_parent(network, int8):
    calibration, clean = load_digits_data("calibration").x, load_digits_data().x
    monitor = Monitor(int8, calibration, parent=network, parent_share=0.5, window=64)
    monitor(clean)
    assert monitor.agreement > 0.95
    assert monitor.to_dict()["agreement"]["compared"] == pytest.approx(301, abs=60)
    assert not any(alarm.kind == "agreement" for alarm in monitor.alarms)

    broken = tersor.Session(int8)
    turns = {"on": False}

    def deployed(x):
        scores = broken(x)
        return np.roll(scores, 1, axis=1) if turns["on"] else scores

    monitor = Monitor(deployed, calibration, parent=network, parent_share=0.2, window=64)
    turns["on"] = True
    monitor(clean[:256])
    assert monitor.agreement < 0.2
    kinds = [alarm.kind for alarm in monitor.alarms]
    assert "agreement" in kinds
    assert any("agrees with its parent on" in alarm.message for alarm in monitor.alarms)


def test_values_that_are_no_numbers(network):
    x = load_digits_data("calibration").x.transpose(0, 3, 1, 2) / np.float32(16)
    clean = load_digits_data().x.transpose(0, 3, 1, 2) / np.float32(16)
    monitor = Monitor(network, x, window=64)
    clean[3] = np.nan
    monitor(clean[:300])
    monitor.observe(clean[3:4])
    monitor.observe(clean[:0])
    assert monitor.non_finite == 2
    assert [alarm.kind for alarm in monitor.alarms] == ["non-finite"] * 2  # one a window
    json.loads(monitor.to_json())


def test_a_cascade_can_be_watched(network, int8):
    cascade = Cascade(int8, network, threshold=0.9)
    monitor = Monitor(cascade, load_digits_data("calibration").x, parent=network)
    monitor(load_digits_data().x[:100])
    assert cascade.samples == 256 + 100


def test_latency_quantiles():
    monitor = Monitor(scores_of, np.zeros((64, 4, 4, 3), np.uint8))
    assert monitor.latency is None
    for ms in range(1, 101):
        monitor.observe(np.zeros((1, 4, 4, 3), np.uint8), seconds=ms / 1000)
    assert monitor.latency == {"p50": 0.050, "p95": 0.095}


def test_formats():
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (600, 8, 8, 3)).astype(np.uint8)
    monitor = Monitor(scores_of, x[:300], parent=scores_of, parent_share=1.0)
    feed(monitor, x[300:] // 3)
    text = monitor.to_prometheus()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sample.labels.values())] = sample.value
    assert found["tersor_samples_total", ()] == 300
    assert found["tersor_alarms_total", ("drift",)] == 1
    assert found["tersor_parent_agreement", ()] == 1
    assert found["tersor_latency_seconds", ("0.95",)] == pytest.approx(0.001)
    assert found["tersor_latency_seconds_count", ()] == 5
    assert found["tersor_drift_ks", ("mean 0",)] == 1
    document = json.loads(monitor.to_json())
    assert document["alarm_counts"] == {"drift": 1, "agreement": 0, "non-finite": 0}
    assert document["drift"][0]["p_value"] < 1e-10
    from prometheus_client import CollectorRegistry

    CollectorRegistry().register(monitor.collector())


def test_threads_share_a_monitor():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1280, 6, 6, 3)).astype(np.uint8)
    monitor = Monitor(scores_of, x[:256], window=64)
    parts = np.split(x[256:], 4)
    workers = [threading.Thread(target=feed, args=(monitor, part, 32)) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (monitor.samples, monitor.windows, monitor.calls) == (1024, 16, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 8}, "window must be at least 32"),
        ({"alpha": 0.0}, r"alpha must be in \(0, 0.5\)"),
        ({"parent_share": 0}, "parent_share must be above 0"),
        ({"layout": "HWC"}, "layout must be NHWC or NCHW"),
        ({"calibration": np.zeros((8, 4, 4, 3))}, "at least 32 samples, got 8"),
        ({"calibration": np.full((64, 4, 4, 3), np.nan)}, "at least 32 finite samples"),
        ({"parent": lambda x: np.zeros((len(x), 2))}, "rows of the same classes"),
    ],
)
def test_arguments_are_checked(arguments, message):
    given = {"calibration": np.zeros((64, 4, 4, 3)), **arguments}
    with pytest.raises(ValueError, match=message):
        Monitor(scores_of, **given)


def test_samples_of_another_shape_are_refused():
    monitor = Monitor(scores_of, np.zeros((64, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must have shape \(4, 4, 3\)"):
        monitor.observe(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(TypeError, match="network or callable"):
        Monitor(3, np.zeros((64, 4, 4, 3)))
    with pytest.raises(TypeError, match="alpha must be a number, got 'x'"):
        Monitor(scores_of, np.zeros((64, 4, 4, 3)), alpha="x")
    for seconds in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="seconds must be at least 0 and finite"):
            monitor.observe(np.zeros((1, 4, 4, 3), np.uint8), seconds=seconds)


def test_inputs_that_never_change():
    """A constant is the calibration's, or drift: once a window, and every figure is JSON."""
    ones = np.ones((64, 4, 4, 3), np.uint8)
    monitor = Monitor(scores_of, ones, window=32)
    monitor(ones)
    assert (monitor.windows, monitor.alarms) == (2, [])
    monitor(2 * ones)
    assert [alarm.kind for alarm in monitor.alarms] == ["drift", "drift"]
    assert json.loads(monitor.to_json())["windows"] == 4


def test_features_see_through_layouts():
    x = np.random.default_rng(0).random((40, 9, 7, 3)).astype(np.float32)
    last, first = InputFeatures(x), InputFeatures(x.transpose(0, 3, 1, 2))
    a, b = last(x), first(x.transpose(0, 3, 1, 2))
    assert a.keys() == b.keys()
    for name, values in a.items():
        np.testing.assert_allclose(values, b[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a["mean 1"], x[..., 1].mean((1, 2)), rtol=1e-5)
    assert a["detail"].mean() > a["noise"].mean() > 0
