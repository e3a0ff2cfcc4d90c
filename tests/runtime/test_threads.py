"""The same results for any number of threads, for concurrent calls, and in forked children."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tersor
from tests.networks import images, int8_residual_network, residual_network

NETWORKS = {"float32": residual_network, "int8": int8_residual_network}


@pytest.fixture(params=NETWORKS)
def graph(request):
    return NETWORKS[request.param]()


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 64, 65])
def test_threads_do_not_change_a_bit(graph, batch):
    x = images(batch)
    one = tersor.Session(graph, threads=1)(x)
    for n in (2, 3):
        np.testing.assert_array_equal(tersor.Session(graph, threads=n)(x), one)


def test_zero_threads_follow_the_setting(graph):
    session = tersor.Session(graph, threads=0)
    x = images(9)
    results = []
    for n in (1, 2, 1):
        tersor.set_threads(n)
        results.append(session(x))
        results.append(session(x[:1]))
    tersor.set_threads(0)
    for a, b in zip(results[2:], results[:-2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("threads", [1, 2])
def test_concurrent_calls_on_one_session(graph, threads):
    session = tersor.Session(graph, threads=threads)
    batches = [images(n, seed=n) for n in (1, 2, 3, 8, 9, 16, 17, 33)]
    expected = [tersor.Session(graph)(x) for x in batches]
    start = threading.Barrier(len(batches))

    def work(i):
        start.wait()
        return [session(batches[(i + k) % len(batches)]) for k in range(len(batches))]

    with ThreadPoolExecutor(len(batches)) as pool:
        for i, results in enumerate(pool.map(work, range(len(batches)))):
            for k, got in enumerate(results):
                np.testing.assert_array_equal(got, expected[(i + k) % len(batches)])


def test_concurrent_calls_on_two_sessions():
    sessions = [tersor.Session(make(), threads=2) for make in NETWORKS.values()]
    x = images(20)
    expected = [s(x) for s in sessions]
    with ThreadPoolExecutor(8) as pool:
        for i, got in enumerate(pool.map(lambda i: sessions[i % 2](x), range(32))):
            np.testing.assert_array_equal(got, expected[i % 2])


def _child(session, x, queue):
    queue.put((session(x), session(x[:1])))


@pytest.mark.parametrize("threads", [1, 2])
def test_forked_child(graph, threads):
    session = tersor.Session(graph, threads=threads)
    x = images(9)
    expected = session(x), session(x[:1])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_child, args=(session, x, queue)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        for got, truth in zip(queue.get(timeout=60), expected, strict=True):
            np.testing.assert_array_equal(got, truth)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    np.testing.assert_array_equal(session(x), expected[0])  # the parent goes on


def test_interpreter_lock_is_released():
    session = tersor.Session(residual_network(32, 32), provider="reference")
    x = images(4, 32)
    done = threading.Event()

    def work():
        session(x)
        done.set()

    thread = threading.Thread(target=work)
    ticks = 0
    thread.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    thread.join()
    assert ticks > 1


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="POSIX signals")
def test_interrupt_between_micro_batches():
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit an ignored one
import numpy as np, tersor
from tests.networks import residual_network, images
session = tersor.Session(residual_network(32, 32), threads=2, provider="reference")
x = np.repeat(images(1, 32), 4096, axis=0)
session(x[:1])
print("ready", flush=True)
try:
    session(x)
except KeyboardInterrupt:
    print("interrupted", session(x[:2]).shape, flush=True)
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert output == "interrupted (2, 10)\n"
