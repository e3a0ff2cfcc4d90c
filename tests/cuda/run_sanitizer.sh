#!/bin/sh
# The tests of the CUDA kernels under compute-sanitizer, on a machine with a device and a build with
# TERSOR_CUDA=ON. PYTHON chooses the interpreter.
set -e
cd "$(dirname "$0")/../.."
for tool in memcheck racecheck initcheck synccheck; do
  echo "== $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 --target-processes all \
    "${PYTHON:-python}" -m pytest tests/cuda -q -x -p no:cacheprovider "$@"
done
