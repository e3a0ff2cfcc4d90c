#!/usr/bin/env bash
# Runs the C++ tests and the kernel tests under AddressSanitizer and UndefinedBehaviorSanitizer.
#   run_asan.sh [pytest arguments, default: the rooms with kernels]
# PYTHON names an interpreter that has pybind11, NumPy and the test tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
site=$PWD/build/asan-site

cmake --preset asan -DPython_EXECUTABLE="$(command -v "$python")"
cmake --build --preset asan
ctest --preset asan
cmake --install build/asan --prefix "$site" >/dev/null
cp -r python/tersor/. "$site/tersor/"

# The interpreter is not instrumented: the runtimes come first in its address space. Python itself leaks at
# exit, and its allocator hides errors in arrays.
runtimes=$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libubsan.so)
[ $# -gt 0 ] || set -- tests/base/test_memory.py tests/quantization tests/artifact \
  tests/distillation tests/runtime
LD_PRELOAD=$runtimes ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc PYTHONPATH=$site \
  "$python" -m pytest -q -p no:cacheprovider -m "not slow" "$@"
