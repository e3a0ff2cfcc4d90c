#!/usr/bin/env bash
# Cross-compiles the C++ library and its tests for 64-bit Arm and runs them under qemu-user.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in cmake ninja aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "needs $tool"; exit 77; }
done
cmake --preset aarch64 "$@"
cmake --build --preset aarch64
ctest --preset aarch64
