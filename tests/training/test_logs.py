"""History, files, progress."""

from __future__ import annotations

import csv
import io
import sys
import types

import pytest
from rich.console import Console

from tersor.training import CsvLog, History, ProgressBar, TensorBoardLog, WandbLog, fit
from tests.small_training import PREPROCESS, images, network


def train(**options):
    settings = {"epochs": 2, "batch_size": 64, "preprocess": PREPROCESS, "progress": False}
    return fit(network(), images(), **{**settings, **options})


def test_log_dir_has_csv_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    history = train(log_dir=tmp_path, validation=images(64, seed=1))
    with (tmp_path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert [float(row["validation_loss"]) for row in rows] == history["validation_loss"]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    points = events.Scalars("epoch/loss")
    assert [p.value for p in points] == pytest.approx(history["loss"])
    assert [p.step for p in points] == [4, 8]


def test_a_resumed_run_writes_the_earlier_lines(tmp_path):
    options = {"checkpoint_dir": tmp_path, "epochs": 3}

    class Stop(CsvLog):
        def on_epoch_begin(self, state):
            if state.epoch == 1:
                raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        train(callbacks=[Stop(tmp_path / "first")], **options)
    train(resume=True, callbacks=[CsvLog(tmp_path / "second")], **options)
    assert len((tmp_path / "second" / "metrics.csv").read_text().splitlines()) == 4


def test_wandb_gets_every_figure(monkeypatch):
    logged, finished = [], []
    run = types.SimpleNamespace(
        log=lambda figures, step: logged.append((step, figures)),
        finish=lambda: finished.append(True),
    )
    settings = {}
    fake = types.ModuleType("wandb")
    fake.init = lambda **given: settings.update(given) or run
    monkeypatch.setitem(sys.modules, "wandb", fake)
    history = train(callbacks=[WandbLog(project="p")])
    assert settings["project"] == "p"
    assert settings["config"]["epochs"] == 2
    assert [step for step, _ in logged] == [4, 8]
    assert [figures["loss"] for _, figures in logged] == history["loss"]
    assert finished == [True]


def test_missing_packages_name_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        WandbLog()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        TensorBoardLog("nowhere")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"pip install 'tersor\[train\]'"):
        train()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_the_figures(monkeypatch, terminal):
    monkeypatch.setattr("tersor.training.progress._REFRESH", 1e9)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200)
    train(callbacks=[ProgressBar(console)], validation=images(64, seed=1))
    text = stream.getvalue()
    lines = [line for line in text.splitlines() if "validation loss" in line]
    assert len(lines) == 2
    assert "epoch 2/2" in lines[1]
    assert ("left" in text) == terminal


def test_history_picks_and_draws():
    pytest.importorskip("matplotlib").use("agg")
    history = History(
        [
            {"epoch": 1, "loss": 2.0, "accuracy": 0.5, "validation_accuracy": 0.6},
            {"epoch": 2, "loss": 1.0, "accuracy": 0.7, "validation_accuracy": 0.6},
        ]
    )
    assert history.best()["epoch"] == 1
    assert history.best("loss", "min")["epoch"] == 2
    with pytest.raises(KeyError, match="name must be one of epoch, loss"):
        history["speed"]
    figure = history.plot()
    left, right = figure.axes
    assert [line.get_label() for line in right.lines] == ["training", "validation"]
    assert right.lines[1].get_ydata().tolist() == [60.0, 60.0]
    assert left.get_ylabel() == "loss"
    with pytest.raises(ValueError, match="at least one epoch, got 0"):
        History().plot()
    assert repr(history).startswith("History(2 epochs, loss=1, accuracy=0.7")
