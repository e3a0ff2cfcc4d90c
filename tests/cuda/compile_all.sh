#!/bin/sh
# Compiles every .cu file with warnings as errors: tests/cuda/compile_all.sh [ARCHITECTURE ...]
# Default: all that a release has, the last one also as PTX. NVCC chooses the compiler.
set -e
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- 75 80 87 89 90 100 120
config=$(mktemp -d)
trap 'rm -rf "$config"' EXIT
code=""
for arch in "$@"; do
  code="$code -gencode=arch=compute_$arch,code=sm_$arch"
done
code="$code -gencode=arch=compute_$arch,code=compute_$arch"
find cpp/tersor -name '*.cu' | sort | xargs -P "${JOBS:-1}" -I FILE sh -c '
  "${NVCC:-nvcc}" -std=c++20 -O3 --fmad=false '"$code"' -Werror all-warnings \
    --compiler-options -fPIC,-Wall,-Wextra,-Werror -Icpp -c FILE -o "$1/$(echo FILE | tr / _).o" \
    && echo "ok FILE"' sh "$config"
