"""Sweeps: choices, pruning, several processes on one study, pictures."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("torch")
optuna = pytest.importorskip("optuna")

from tersor.cli import main  # noqa: E402
from tersor.training import SweepSpace, sweep  # noqa: E402
from tersor.training.sweep_study import open_study, release_dead_trials  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SPACE = {
    "filters": [4, 8],
    "kernel": [3],
    "depth": [2, 3],
    "width": [1.0],
    "separable": [False, True],
    "recipe": ["int8", "fp32"],
}


def images(n=160, seed=0):
    """Bright and dark images, with noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.integers(0, 100, (n, 32, 32, 3)) + 120 * y[:, None, None, None]
    return x.astype(np.uint8), y


@pytest.fixture(scope="module")
def result():
    told = []
    found = sweep(images(), space=SPACE, trials=5, epochs=2, batch_size=16, progress=told.append)
    assert len(told) == 5
    return found


def test_trials_are_measured(result):
    assert len(result.trials) == 5
    assert {trial.state for trial in result.trials} <= {"complete", "pruned"}
    best = result.best
    assert best.accuracy > 0.9
    assert best.score == pytest.approx(best.accuracy - 0.01 * np.log2(best.size_bytes / 102400))
    assert set(best.params) == {"architecture", "learning_rate", *SPACE}
    assert best.epochs == 2
    assert best.macs > 1e5
    assert best.size_bytes > 500
    assert best.seconds > 0


def test_the_front_has_no_beaten_trial(result):
    front = result.pareto
    for trial in result.complete:
        beaten = [
            o for o in result.complete if o.size_bytes < trial.size_bytes
            and o.accuracy >= trial.accuracy
        ]  # fmt: skip
        assert (trial in front) <= (not beaten)
    sizes = [trial.size_bytes for trial in front]
    assert sizes == sorted(sizes)


def test_the_same_seed_gives_the_same_study(result):
    again = sweep(images(), space=SPACE, trials=2, epochs=2, batch_size=16)
    assert [t.params for t in again.trials] == [t.params for t in result.trials[:2]]
    assert [t.score for t in again.trials] == [t.score for t in result.trials[:2]]


def test_pictures_and_table(result, tmp_path):
    pytest.importorskip("plotly")
    figures = result.figures()
    assert {"parallel", "pareto"} <= set(figures)
    result.to_html(tmp_path / "sweep.html")
    text = (tmp_path / "sweep.html").read_text()
    assert "Accuracy against size" in text
    assert "<script src=" not in text
    assert "complete" in str(result.table())
    assert json.loads(json.dumps(result.to_dict()))["best"] == result.best.number


def test_bad_trials_are_pruned(tmp_path):
    """Four trials were better after every epoch than anything can be: the fifth ends early."""
    study = open_study(tmp_path / "journal.log", "sweep", sampler=None, pruner=None)
    for _ in range(4):
        steps = dict.fromkeys(range(4), 2.0)
        study.add_trial(optuna.trial.create_trial(value=2.0, intermediate_values=steps))
    options = {"space": SPACE, "trials": 5, "epochs": 3, "batch_size": 32}
    found = sweep(images(64), storage=tmp_path / "journal.log", **options)
    assert [trial.state for trial in found.trials] == ["complete"] * 4 + ["pruned"]
    assert found.trials[4].epochs < 3
    assert found.trials[4].score is None


def arguments(folder, trials):
    choices = [f"--choice={name}={','.join(map(str, values)).lower()}" for name, values in
               {**SPACE, "recipe": ["int8"]}.items()]  # fmt: skip
    storage = ["--storage", str(folder / "journal.log"), "--trials", str(trials)]
    return ["sweep", "digits", *storage, "--epochs", "3", "--batch-size", "16", *choices]


def start(folder, trials):
    command = [sys.executable, "-m", "tersor", *arguments(folder, trials)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def running(folder, process):
    """Numbers of the trials that a process runs now."""
    if not (folder / "journal.log").exists():
        return []
    try:
        study = open_study(folder / "journal.log", "sweep", sampler=None, pruner=None)
    except optuna.exceptions.OptunaError:
        return []
    states = (optuna.trial.TrialState.RUNNING,)
    return [
        trial.number
        for trial in study.get_trials(deepcopy=False, states=states)
        if trial.user_attrs.get("worker", [None, None])[1] == process.pid and trial.params
    ]


def test_two_workers_share_a_study_one_is_killed_a_third_resumes(tmp_path, capsys):
    first, second = start(tmp_path, 400), start(tmp_path, 400)
    try:
        # Both work on the one study.
        deadline = time.monotonic() + 600
        while not (running(tmp_path, first) and running(tmp_path, second)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # One is killed in the middle of a trial: it is stopped first, to look.
        lost = []
        while not lost:
            assert time.monotonic() < deadline
            os.kill(first.pid, signal.SIGSTOP)
            lost = running(tmp_path, first)
            os.kill(first.pid, signal.SIGKILL if lost else signal.SIGCONT)
            time.sleep(0.05)
        first.wait()
        # The other goes on to finish a trial.
        study = open_study(tmp_path / "journal.log", "sweep", sampler=None, pruner=None)

        def finished():
            return sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))

        before = finished()
        while finished() == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert study.get_trials(deepcopy=False)[lost[0]].state.name == "RUNNING"
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    # The third queues again what the dead ones were doing, and brings the study to its end.
    wanted = finished() + 3
    assert main([*arguments(tmp_path, wanted), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    trials = document["trials"]
    assert trials[lost[0]]["state"] == "failed"
    assert not [t for t in trials if t["state"] in ("running", "waiting")]
    assert sum(t["state"] in ("complete", "pruned") for t in trials) == wanted
    again = [t["params"] for t in trials[lost[0] + 1 :] if t["state"] in ("complete", "pruned")]
    assert trials[lost[0]]["params"] in again


def test_living_trials_are_left_alone(tmp_path):
    study = open_study(tmp_path / "journal.log", "s", sampler=None, pruner=None)
    trial = study.ask()
    assert release_dead_trials(study) == 0
    trial.set_user_attr("worker", ["another host", 1, None])
    trial.set_user_attr("seen", time.time())
    trial.suggest_categorical("filters", [4])
    assert release_dead_trials(study) == 0
    trial.set_user_attr("seen", time.time() - 7200)
    assert release_dead_trials(study) == 1
    assert [t.state.name for t in study.get_trials()] == ["FAIL", "WAITING"]


def test_another_setting_needs_another_study(tmp_path):
    space = {**SPACE, "filters": [4], "depth": [2]}
    options = {"space": space, "trials": 1, "epochs": 1, "batch_size": 32}
    storage = tmp_path / "journal.log"
    sweep(images(64), storage=storage, **options)
    with pytest.raises(ValueError, match=r"epochs must be that of the study 'sweep' \(1\), got 2"):
        sweep(images(64), storage=storage, **{**options, "epochs": 2})
    same = sweep(images(64), storage=storage, **options)
    assert len(same.trials) == 1
    other = sweep(images(64), storage=storage, study="b", **{**options, "epochs": 2})
    assert other.best.epochs == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"filter": [1]}}, "did you mean 'filters'"),
        ({"space": {"filters": []}}, "must be a list of values"),
        ({"space": {"architecture": ["resnet18"]}}, "architecture must be one of"),
        ({"space": {"width": {"low": 1, "high": 2}}}, "got a range"),
        ({"space": {"learning_rate": {"low": 0, "high": 2}}}, "0 < low <= high"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"size_weight": -1}, "size_weight must be at least 0"),
        ({"pruner": "hyper"}, "pruner must be one of median"),
        ({"data": (np.zeros((4, 32, 32, 2), np.uint8), [0] * 4)}, "data must be images"),
        ({"data": (np.zeros((4, 32, 30, 3), np.uint8), [0] * 4)}, "must be square"),
        ({"data": np.zeros((4, 32, 32, 3), np.uint8)}, "must have labels"),
    ],
)
def test_arguments_are_checked(change, message):
    options = {"data": images(16), "trials": 1, "epochs": 1, **change}
    data = options.pop("data")
    with pytest.raises(ValueError, match=message):
        sweep(data, **options)


def test_choices_of_other_architectures_are_not_asked():
    space = SweepSpace({"architecture": ["resnet8"], "learning_rate": {"low": 0.01, "high": 0.3}})
    chosen = space.suggest(optuna.create_study().ask())
    assert set(chosen) == {"architecture", "width", "recipe", "learning_rate"}
    module = space.build({**chosen, "width": 0.5}, num_classes=3, input_size=32)
    assert module.input_shape == (3, 32, 32)


def test_files_of_choices(tmp_path, capsys):
    (tmp_path / "space.yaml").write_text("filters: [4]\ndepth: [1]\nrecipe: [fp32]\n")
    command = ["sweep", "digits", "--space", tmp_path / "space.yaml", "--choice", "kernel=3"]
    command += ["--choice", "separable=false", "--choice", "width=1.0", "--trials", 1]
    assert main([str(part) for part in [*command, "--epochs", 1, "--json"]]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trials"][0]["params"]["filters"] == 4
    assert main(["sweep", "digits", "--choice", "kernel"]) == 2
    assert "--choice must be such as" in capsys.readouterr().err
