"""The C++ library alone: find_package(tersor) from the installed package, built and run."""

import shutil
import subprocess

import pytest

import tersor

CMAKE = """
cmake_minimum_required(VERSION 3.24)
project(consumer LANGUAGES CXX)
find_package(tersor 0.1 REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE tersor::tersor)
"""
MAIN = """
#include <cstdio>
#include "tersor/base/config.h"
#include "tersor/base/error.h"
#include "tersor/quantization/affine.h"

int main() {
  const float x[4] = {-1.0f, 0.0f, 0.25f, 99.0f}, scale = 0.1f, zero = 0.0f;
  const std::int32_t zero_point = 5;
  std::int8_t q[4];
  tersor::quantization::quantize_affine(x, q, {1, 1, 4}, &scale, &zero_point);
  std::printf("%s %d %d %d %d\\n", tersor::version().c_str(), q[0], q[1], q[2], q[3]);
  try {
    tersor::quantization::quantize_affine(x, q, {1, 1, 4}, &zero, &zero_point);
  } catch (const tersor::ValueError& e) {  // the type crosses the library's border
    std::puts(e.what());
  }
}
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_find_package(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    (tmp_path / "main.cpp").write_text(MAIN)
    build = tmp_path / "build"
    for command in (
        ["cmake", "-S", tmp_path, "-B", build, f"-Dtersor_DIR={tersor.get_cmake_dir()}"],
        ["cmake", "--build", build],
    ):
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    out = subprocess.run([build / "consumer"], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        f"{tersor.__version__} -5 5 7 127",
        "quantize_affine: scale must be finite and > 0, got 0 for channel 0",
    ]
