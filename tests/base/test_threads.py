"""tersor.base.threads: counts, environment, forked children, interpreter exit."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tersor
from tersor.quantization import quantize_affine

X = np.random.default_rng(0).normal(size=300_000).astype(np.float32)


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_set_threads():
    tersor.set_threads(3)
    assert tersor.get_threads() == 3
    tersor.set_threads(0)
    assert 1 <= tersor.get_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("n", [-1, 1025])
def test_set_threads_rejects(n):
    with pytest.raises(ValueError, match=rf"set_threads: n must be in \[0, 1024\], got {n}"):
        tersor.set_threads(n)
    for wrong in ("2", 1.5, True, None):
        with pytest.raises(TypeError, match="set_threads: n must be an integer, got "):
            tersor.set_threads(wrong)


def test_environment_sets_threads():
    code = "import tersor; print(tersor.get_threads())"
    assert run(code, TERSOR_THREADS="5").stdout.strip() == "5"
    result = run(code, TERSOR_THREADS="many")
    assert "TERSOR_THREADS: threads must be in [1, 1024], got 'many'" in result.stderr


def test_default_follows_affinity():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import tersor
print(tersor.get_threads())
"""
    assert run(code, TERSOR_THREADS="").stdout.strip() == "1"


def _child(queue):
    queue.put((tersor.get_threads(), quantize_affine(X, 0.05)))


def test_forked_child_computes_with_one_thread():
    tersor.set_threads(2)
    expected = quantize_affine(X, 0.05)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    threads, result = queue.get()
    child.join(60)
    tersor.set_threads(0)
    assert child.exitcode == 0
    assert threads == 1
    np.testing.assert_array_equal(result, expected)


def test_concurrent_python_threads():
    tersor.set_threads(2)
    expected = quantize_affine(X, 0.05)
    wrong = []

    def work():
        for _ in range(30):
            if not np.array_equal(quantize_affine(X, 0.05), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tersor.set_threads(0)
    assert not wrong


def test_exit_with_sleeping_workers_is_clean():
    code = """
import numpy as np, tersor
from tersor.quantization import quantize_affine
tersor.set_threads(4)
kept = quantize_affine(np.ones(4_000_000, np.float32), 0.1)  # its memory is freed while exiting
"""
    for _ in range(5):
        result = run(code)
        assert (result.returncode, result.stderr) == (0, "")
