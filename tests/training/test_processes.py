"""Two processes under torchrun with gloo, and power cuts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tersor
from tersor.training import distill, fit
from tests import small_training
from tests.small_training import PREPROCESS, distillation_loss, images, network

ROOT = Path(__file__).resolve().parents[2]


def start(task, folder, processes, *, fails=False):
    """Run a task of tests/small_training.py and return what each process ended with."""
    if processes == 1 and not fails:
        return [small_training.run_task(task, folder)]
    path = os.pathsep.join([str(Path(tersor.__file__).parents[1]), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command += ["-m"]
    done = subprocess.run(
        [*command, "tests.small_training", task, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    if fails:
        assert done.returncode != 0
        return []
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        torch.load(folder / f"{task}.{rank}.pt", weights_only=True) for rank in range(processes)
    ]


def assert_equal_weights(a, b):
    assert list(a) == list(b)
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def without_times(rows):
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows
    ]


@pytest.fixture(scope="module", params=[1, 2], ids=["1-process", "2-processes"])
def runs(request, tmp_path_factory):
    """Results of the uninterrupted run, and the folder of that number of processes."""
    folder = tmp_path_factory.mktemp(f"processes{request.param}")
    return request.param, folder, start("full", folder, request.param)


def test_killed_and_resumed_ends_with_the_same_bits(runs):
    processes, folder, whole = runs
    start("killed", folder, processes, fails=True)
    saved = torch.load(folder / "killed" / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["step"]) == (1, 2)
    resumed = start("resumed", folder, processes)
    for before, after in zip(whole, resumed, strict=True):
        assert_equal_weights(before["model"], after["model"])
        for x, y in zip(without_times(before["rows"]), without_times(after["rows"]), strict=True):
            assert x == pytest.approx(y, rel=1e-9)


def test_processes_end_with_the_same_weights(runs):
    _, _, results = runs
    for other in results[1:]:
        for part in ("model", "student", "plain"):
            assert_equal_weights(results[0][part], other[part])
        for rows in ("rows", "distilled", "plain_rows"):
            assert without_times(results[0][rows]) == without_times(other[rows])


def test_observers_and_masks_stay_in_sync(runs):
    processes, _, results = runs
    seen = [extremes for result in results for extremes in result["observer"]["own"]]
    for result in results:
        observer = result["observer"]
        assert float(observer["low"]) == min(low for low, _ in seen)
        assert float(observer["high"]) == max(high for _, high in seen)
        assert float(observer["mean"]) == (processes - 1) / 2
        assert observer["mask"].tolist() == [True] + 7 * [False]
    totals = [row["total"] for row in results[0]["rows"] if "total" in row]
    assert totals == []  # only the observed run has it


def test_two_processes_learn_as_one_with_the_same_batch(runs):
    """Without BatchNorm, whose statistics are those of a part, only rounding differs."""
    processes, _, results = runs
    alone = network(norm=False)
    history = fit(
        alone,
        images(),
        epochs=1,
        batch_size=32 * processes,
        preprocess=PREPROCESS,
        progress=False,
        validation=images(70, seed=1),
        device="cpu",
    )
    for name, value in alone.state_dict().items():
        np.testing.assert_allclose(results[0]["plain"][name], value, rtol=1e-4, atol=1e-6)
    (row,) = without_times(results[0]["plain_rows"])
    (expected,) = without_times(history.rows)
    assert row == pytest.approx(expected, rel=1e-5)


def test_distillation_reports_the_students_figures(runs):
    processes, _, results = runs
    (row,) = without_times(results[0]["distilled"])
    if processes == 1:
        student = network(1, width=4)
        history = distill(
            network(2),
            student,
            images(),
            epochs=1,
            batch_size=32,
            preprocess=PREPROCESS,
            loss=distillation_loss,
            progress=False,
            validation=images(70, seed=1),
        )
        assert without_times(history.rows) == [row]
    assert row["loss"] > 0
    assert results[0]["fp16"][0]["skipped_steps"] == 0
