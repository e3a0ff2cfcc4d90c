#!/usr/bin/env bash
# Fuzzes the readers of files and coded streams with libFuzzer under AddressSanitizer and
# UndefinedBehaviorSanitizer.
#   run_fuzz.sh [seconds, default 60] [libFuzzer options, such as -runs=10000000]
# The corpus starts with the golden files and a coded stream of each method, and grows in build/fuzz/corpus. Needs clang.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v clang++ >/dev/null; then
  echo "fuzz: skipped, clang++ is not there (Debian: apt-get install clang)"
  exit 0
fi
seconds=${1:-60}
[ $# -eq 0 ] || shift
cmake -S . -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DTERSOR_PYTHON=OFF -DTERSOR_ONEDNN=OFF -DTERSOR_EIGEN=OFF -DTERSOR_FUZZ=ON \
  -DTERSOR_SANITIZE=fuzzer-no-link,address,undefined \
  -DTERSOR_ROOMS="base;tensor;coding;quantization;graph;artifact"
cmake --build build/fuzz --target fuzz_artifact -j "${JOBS:-2}"
mkdir -p build/fuzz/corpus
cp -n tests/artifact/golden/*.tersor tests/sanitizers/corpus/* build/fuzz/corpus/
exec build/fuzz/cpp/tests/fuzz_artifact -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=2048 \
  -timeout=10 "$@" build/fuzz/corpus
