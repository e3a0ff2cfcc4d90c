"""Recycled outputs: alignment, reuse, life time."""

import gc

import numpy as np

from tersor import _core
from tersor.quantization import quantize_affine

BIG = np.ones(5 << 20, np.float32)


def test_large_outputs_are_aligned_and_counted():
    gc.collect()
    before = _core.base.memory_stats()["current_bytes"]
    q = quantize_affine(BIG, 0.1)
    assert q.ctypes.data % 64 == 0
    assert _core.base.memory_stats()["current_bytes"] >= before + q.nbytes
    view = q[10:]
    del q
    assert view.sum() == 10 * view.size  # the block lives as long as a view of it
    assert _core.base.memory_stats()["current_bytes"] > before
    del view
    assert _core.base.memory_stats()["current_bytes"] == before


def test_large_outputs_are_recycled():
    first = quantize_affine(BIG, 0.1)
    address = first.ctypes.data
    del first
    assert quantize_affine(BIG, 0.2).ctypes.data == address
    _core.base.trim_memory()
    assert _core.base.memory_stats()["cached_bytes"] == 0


def test_crc32c_accepts_any_contiguous_buffer(isa):
    expected = 0xE3069283
    assert _core.base.crc32c(b"123456789") == expected
    assert _core.base.crc32c(memoryview(b"123456789")) == expected
    assert _core.base.crc32c(np.frombuffer(b"123456789", np.uint8)) == expected
    assert _core.base.crc32c(b"56789", _core.base.crc32c(b"1234")) == expected
