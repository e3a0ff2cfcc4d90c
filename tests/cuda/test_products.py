"""Products through cuBLASLt and the layers on them; in the emulation a stand-in of the library."""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tersor import quantization as cpu

HERE = Path(__file__).resolve().parent
BF16, FP8 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """A library of the same names that computes on the host."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compile the stand-in of cuBLASLt")
    path = tmp_path_factory.mktemp("cublaslt") / "libstandin.so"
    source = HERE / "emulation" / "cublaslt.c"
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["gcc", *flags, "-D_POSIX_C_SOURCE=199309L", str(source), "-lm", "-o", str(path)],
        check=True,
    )
    return path


@pytest.fixture
def library(cuda, stand_in, monkeypatch):
    """Its variables; None on a device, where the real library is used."""
    from tersor.cuda import product

    if not cuda.native.extension().emulated:
        try:
            product.cublaslt()
        except RuntimeError as error:
            pytest.skip(str(error))
        return None
    monkeypatch.setattr(product, "cublaslt_files", lambda: ["/nowhere.so", str(stand_in)])
    path, version = product.cublaslt()
    assert Path(path) == stand_in
    assert version == 130099
    return ctypes.CDLL(str(stand_in))


def number(library, name):
    return ctypes.c_int.in_dll(library, name).value


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 16, 16), (5, 48, 160), (33, 16, 1024)])
def test_int8_products_are_exact(cuda, library, rows, outputs, inputs):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (rows, inputs), dtype=np.int8)
    w = rng.integers(-128, 128, (outputs, inputs), dtype=np.int8)
    y = quantization.matmul_int8(cuda.array(x), cuda.array(w)).numpy()
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, x.astype(np.int64) @ w.T.astype(np.int64))


def test_plans_are_kept_and_candidates_timed(cuda, library):
    from tersor.cuda import quantization

    x, w = (cuda.array(np.ones((n, 64), np.int8)) for n in (24, 32))
    assert quantization.tuned_times(x, w) == (0, 0, 0)
    expected = np.full((24, 32), 64)
    np.testing.assert_array_equal(quantization.matmul_int8(x, w).numpy(), expected)
    if library is not None:
        assert number(library, "fake_algorithm") == 100  # the heuristic's first
        assert number(library, "fake_workspace") == 32 << 20
        assert number(library, "fake_alignment") == 256
        before = number(library, "fake_heuristics")
        alive = number(library, "fake_alive")
    np.testing.assert_array_equal(quantization.matmul_int8(x, w, tune=True).numpy(), expected)
    first, best, candidates = quantization.tuned_times(x, w)
    assert 0 < best <= first
    assert candidates > 0
    if library is None:
        return
    assert candidates == 2  # one of the three does not run on this device
    assert number(library, "fake_algorithm") == 102  # the fastest
    products = number(library, "fake_products")
    quantization.matmul_int8(x, w, tune=True)
    quantization.matmul_int8(x, w)
    assert number(library, "fake_algorithm") == 100
    assert number(library, "fake_products") == products + 2
    assert number(library, "fake_heuristics") == before
    assert number(library, "fake_alive") == alive


def test_shapes_that_products_do_not_take(cuda, library):
    from tersor.cuda import quantization

    x, w = cuda.array(np.ones((3, 32), np.int8)), cuda.array(np.ones((24, 32), np.int8))
    with pytest.raises(ValueError, match="w must have outputs and inputs that are multiples of 16"):
        quantization.matmul_int8(x, w)
    with pytest.raises(ValueError, match="x and w must have shapes"):
        quantization.matmul_int8(cuda.array(np.ones((3, 16), np.int8)), w)
    with pytest.raises(TypeError, match="w must be float8_e4m3fn, got int8"):
        quantization.matmul_fp8(cuda.array(np.ones((3, 32), FP8)), w)
    eights = [cuda.array(np.ones((16, 32), FP8)) for _ in range(2)]
    with pytest.raises(TypeError, match="dtype must be float32 or bfloat16, got int8"):
        quantization.matmul_fp8(*eights, dtype=np.int8)
    none = quantization.matmul_int8(
        cuda.array(np.zeros((0, 32), np.int8)), cuda.array(np.ones((16, 32), np.int8))
    )
    assert none.shape == (0, 16)


def test_products_that_the_library_does_not_have(cuda, library):
    from tersor.cuda import quantization

    if library is None:
        pytest.skip("needs the stand-in")
    candidates = ctypes.c_int.in_dll(library, "fake_candidates")
    candidates.value = 0
    alive = number(library, "fake_alive")
    try:
        x, w = (cuda.array(np.ones((16, 2048), np.int8)) for _ in range(2))
        with pytest.raises(RuntimeError, match="must have an algorithm for 16 x 16 x 2048 of int8"):
            quantization.matmul_int8(x, w)
    finally:
        candidates.value = 3
    assert number(library, "fake_alive") == alive


def test_without_the_library_the_error_names_it(extension):
    if not extension.emulated:
        pytest.skip("needs the stand-in")
    # Another process: this one may have loaded it.
    script = (
        "import importlib.util, sys\n"
        "import tersor._core\n"
        "spec = importlib.util.spec_from_file_location('tersor._core_cuda', sys.argv[1])\n"
        "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)\n"
        "try: m.load_cublaslt(['/nowhere.so'])\n"
        "except RuntimeError as e: print(e)\n"
        "else: print('found', m.load_cublaslt([])[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, extension.__file__], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "found" in done.stdout:
        pytest.skip(f"this machine has cuBLASLt: {done.stdout}")
    assert "pip install nvidia-cublas" in done.stdout


@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_float8_products(cuda, library, dtype):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=(n, 96)).astype(FP8) for n in (7, 32))
    scales = [cuda.array(np.float32([s])) for s in (0.5, 3.0)]
    on_device = cuda.array(x), cuda.array(w)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    sizes = np.abs(x.astype(np.float64)) @ np.abs(w.T.astype(np.float64))
    try:
        y = quantization.matmul_fp8(*on_device, dtype=dtype)
        scaled = quantization.matmul_fp8(*on_device, *scales, dtype=dtype)
    except RuntimeError as error:
        if library is None and "float8" in str(error):
            pytest.skip(str(error))
        raise
    # Sums may be kept with 14 bits between the tensor cores' steps (Hopper).
    bound = sizes * 2.0**-12 + np.abs(exact) * (2.0**-8 if dtype == BF16 else 0)
    assert (np.abs(y.numpy().astype(np.float64) - exact) <= bound).all()
    assert (np.abs(scaled.numpy().astype(np.float64) - 1.5 * exact) <= 1.5 * bound).all()


def layer_inputs(rows, inputs, dtype, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, inputs)).astype(dtype)
    if rows > 4:
        x[0] = 0
        x[1] = np.abs(x[1])
        x[2, 0] = np.nan
        x[3, -1] = np.inf
        x[4] = dtype(1e-38)
    return x


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 1, 1), (19, 37, 100), (6, 64, 256)])
@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_dense_dynamic_has_the_bits_of_the_cpu(cuda, library, rows, outputs, inputs, dtype):
    from tersor.cuda import quantization

    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (outputs, inputs), dtype=np.int8)
    scale = rng.uniform(0.001, 0.1, outputs).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    x = layer_inputs(rows, inputs, dtype)
    for arguments in ((scale, bias), (0.5, None)):
        options = {"low": -3.0, "high": 20.0}
        expected = cpu.DenseDynamic(codes, *arguments, **options)(x.astype(np.float32))
        layer = quantization.DenseDynamic(codes, *arguments, **options)
        np.testing.assert_array_equal(layer(cuda.array(x)).numpy(), expected)
        narrow = quantization.DenseDynamic(codes, *arguments, **options, dtype=BF16)
        np.testing.assert_array_equal(
            narrow(cuda.array(x)).numpy().astype(np.float32),
            expected.astype(BF16).astype(np.float32),
        )


def test_dense_dynamic_takes_codes(cuda, library):
    from tersor.cuda import quantization

    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (20, 48), dtype=np.int8)
    bias = rng.normal(size=20).astype(np.float32)
    layer = quantization.DenseDynamic(codes, 0.25, bias)
    xq = rng.integers(-128, 128, (21, 48), dtype=np.int8)
    rows = rng.uniform(0.1, 1, 21).astype(np.float32)
    for q in (
        cpu.QParams(scale=[0.3], zero_point=[-7]),
        cpu.QParams(scale=rows, zero_point=rng.integers(-9, 9, 21), axis=0),
    ):
        y = layer.apply_codes(cuda.array(xq), q).numpy()
        x = cpu.dequantize(xq, q).astype(np.float64)
        np.testing.assert_allclose(y, x @ (0.25 * codes.T) + bias, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="a scale per tensor or row"):
        layer.apply_codes(cuda.array(xq[:3]), q)
    with pytest.raises(TypeError, match="weights must be int8, got float64"):
        quantization.DenseDynamic(np.ones((4, 4)), 1.0)


@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_dense_fp8(cuda, library, dtype):
    from tersor.cuda import quantization

    rng = np.random.default_rng(2)
    w = rng.normal(size=(21, 70)).astype(np.float32)
    w[3] = 0
    bias = rng.normal(size=21).astype(np.float32)
    x = layer_inputs(9, 70, dtype)
    layer = quantization.DenseFp8(w, bias=bias, high=5.0)
    try:
        y = layer(cuda.array(x)).numpy()
    except RuntimeError as error:
        if library is None and "float8" in str(error):
            pytest.skip(str(error))
        raise
    wide = x.astype(np.float32)
    finite = np.isfinite(wide).all(axis=1)
    assert np.isnan(y[~finite]).all()
    s = np.abs(wide[finite]).max(axis=1, keepdims=True) / np.float32(448)
    s = np.where(s == 0, np.float32(1), np.maximum(s, np.float32(2**-126)))
    steps = (wide[finite] / s).astype(FP8).astype(np.float64)
    ws = np.abs(w).max(axis=1, keepdims=True) / np.float32(448)
    ws[ws == 0] = 1
    weights = (w / ws).astype(FP8).astype(np.float64)
    expected = np.minimum((steps @ weights.T) * (s.astype(np.float64) * ws.T) + bias, 5)
    sizes = (np.abs(steps) @ np.abs(weights.T)) * (s.astype(np.float64) * ws.T)
    assert (np.abs(y[finite] - expected) <= sizes * 2.0**-12 + 1e-6).all()
    again = quantization.DenseFp8((w / ws).astype(FP8), ws[:, 0], bias, high=5.0)
    np.testing.assert_array_equal(again(cuda.array(x)).numpy(), y)
    with pytest.raises(ValueError, match="scale must come with weights of float8"):
        quantization.DenseFp8(w, 1.0)


def test_dequantized_sums(cuda):
    from tersor.cuda import quantization

    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**24), 2**24, (35, 24), dtype=np.int32)
    row, column, bias = (rng.normal(size=n).astype(np.float32) for n in (35, 24, 24))
    on_device = [cuda.array(a) for a in (sums, row, column, bias)]
    y = quantization.dequantize_sums(*on_device, low=-1e6).numpy()
    expected = sums.astype(np.float32) * (row[:, None] * column) + bias
    np.testing.assert_array_equal(y, np.maximum(expected, np.float32(-1e6)))
    one = cuda.array(np.float32([0.5]))
    floats = cuda.array(sums.astype(np.float32))
    y = quantization.dequantize_sums(floats, one, one, dtype=BF16).numpy()
    np.testing.assert_array_equal(y, (sums * 0.25).astype(BF16))
    with pytest.raises(ValueError, match=r"scale must have shape \(24,\), got \(35,\)"):
        quantization.dequantize_sums(on_device[0], on_device[1], on_device[1])


def test_declarations_are_those_of_the_header():
    """Our own declarations against cublasLt.h, where one is installed."""
    folders = [Path(p, "nvidia", f, "include") for p in sys.path for f in ("cu13", "cublas")]
    folders += [Path("/usr/local/cuda/include"), Path("/usr/include")]
    folder = next((f for f in folders if (f / "cublasLt.h").is_file()), None)
    if folder is None:
        pytest.skip("no cublasLt.h")
    text = "".join((folder / n).read_text() for n in ("cublasLt.h", "cublas_api.h"))
    ours = (HERE.parents[1] / "cpp" / "tersor" / "cuda" / "cublaslt.h").read_text()
    for name, theirs in {
        "kComputeFloat32": "CUBLAS_COMPUTE_32F",
        "kComputeInt32": "CUBLAS_COMPUTE_32I",
        "kTransposeA": "CUBLASLT_MATMUL_DESC_TRANSA",
        "kScalePointerA": "CUBLASLT_MATMUL_DESC_A_SCALE_POINTER",
        "kScalePointerB": "CUBLASLT_MATMUL_DESC_B_SCALE_POINTER",
        "kTranspose": "CUBLAS_OP_T",
        "kMostWorkspace": "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES",
    }.items():
        value = re.search(rf"\b{name} = (\d+)", ours).group(1)
        assert re.search(rf"\b{theirs}\s*=\s*{value}\b", text), name
    for i, letter in enumerate("ABCD", 5):
        assert re.search(rf"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{letter}_BYTES = {i}\b", text)
