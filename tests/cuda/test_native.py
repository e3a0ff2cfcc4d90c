"""Devices, arrays and what is said without a device."""

import subprocess
import sys

import numpy as np
import pytest

import tersor.cuda
from tersor.cuda import native


class Without:
    """An extension on a machine without a device."""

    emulated = False

    @staticmethod
    def device_count():
        return 0


def test_import_needs_nothing():
    script = (
        "import tersor.cuda, sys; assert 'torch' not in sys.modules; tersor.cuda.is_available()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_a_device_calls_say_so(monkeypatch):
    monkeypatch.setattr(native, "_loaded", Without)
    assert not tersor.cuda.is_available()
    for call in (lambda: tersor.cuda.array([1.0]), tersor.cuda.device_info):
        with pytest.raises(RuntimeError, match="no CUDA device"):
            call()


def test_without_the_extension_the_error_names_the_option(monkeypatch):
    monkeypatch.setattr(native, "_loaded", None)
    monkeypatch.setitem(sys.modules, "tersor._core_cuda", None)
    assert tersor.cuda.device_count() == 0
    with pytest.raises(ImportError, match="TERSOR_CUDA=ON"):
        tersor.cuda.array([1.0])


def test_arrays_go_there_and_back(cuda):
    for x in (np.arange(6, dtype=np.float32).reshape(2, 3), np.int8([[-1]]), np.zeros((0, 4))):
        a = cuda.array(x)
        assert (a.shape, a.dtype, a.nbytes) == (x.shape, x.dtype, x.nbytes)
        np.testing.assert_array_equal(a.numpy(), x)
    assert "Array(shape=(1, 1), dtype=int8)" in repr(cuda.array(np.int8([[1]])))
    assert cuda.device_count() >= 1
    assert cuda.device_info()["multiprocessors"] >= 1


class Foreign:
    """Another library's array: only DLPack."""

    def __init__(self, array):
        self._array = array
        self.streams = []

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        return self._array.__dlpack__(stream=stream)


def test_dlpack_arrays_are_taken_with_the_stream(cuda):
    from tersor.cuda import quantization

    x = Foreign(cuda.array(np.float32([0.3, 3.25])))
    np.testing.assert_array_equal(
        quantization.cast(x, "fp8_e4m3").numpy().astype(float), [0.3125, 3.25]
    )
    assert x.streams == [1]  # DLPack's name of the legacy default stream


def test_arrays_that_are_not_on_a_device_are_refused(cuda):
    from tersor.cuda import quantization

    with pytest.raises(TypeError, match="cast: x must be an array in device memory"):
        quantization.cast(np.zeros(3, np.float32), "bf16")
    with pytest.raises(TypeError, match="cast: x must be float32, got int8"):
        quantization.cast(cuda.array(np.int8([1])), "bf16")
