#!/bin/sh
# The tests of the CUDA kernels under compute-sanitizer, on a machine with a device and a build with
# TERSOR_CUDA=ON: tests/cuda/run_sanitizer.sh [PYTEST ARGUMENT ...]. PYTHON chooses the interpreter.
set -e
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
"$python" -c 'from tersor.cuda.native import native; native()' 2>&1 | tail -1 | grep . >&2 && exit 1
command -v compute-sanitizer >/dev/null || {
  echo "run_sanitizer.sh: compute-sanitizer must be on the path (it comes with CUDA)" >&2
  exit 1
}
# Pools of memory hide what lies beyond an array: cudaMallocAsync is tracked by memcheck itself.
# PyTorch's tests start other processes and libraries, whose leaks and reads are not ours.
for tool in memcheck racecheck initcheck synccheck; do
  echo "== $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 --target-processes application-only \
    "$python" -m pytest tests/cuda -q -x -p no:cacheprovider -m "not slow" \
    --ignore tests/cuda/test_torch.py --ignore tests/cuda/test_compile.py "$@"
done
