// Sums and the like over warps and blocks, in a fixed order: results do not depend on the schedule.
#pragma once

#include <cuda_runtime.h>

namespace tersor::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

struct Add {
  template <class T>
  __device__ T operator()(const T& a, const T& b) const {
    return a + b;
  }
};

__device__ inline float shuffle_xor(float x, unsigned lanes) {
  return __shfl_xor_sync(kFullWarp, x, static_cast<int>(lanes));
}
__device__ inline double shuffle_xor(double x, unsigned lanes) {
  return __shfl_xor_sync(kFullWarp, x, static_cast<int>(lanes));
}
__device__ inline int shuffle_xor(int x, unsigned lanes) {
  return __shfl_xor_sync(kFullWarp, x, static_cast<int>(lanes));
}

// Every lane gets the result. `join` is commutative up to rounding; all 32 lanes take part.
template <class T, class Join>
__device__ T warp_reduce(T x, Join join) {
#pragma unroll
  for (unsigned lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const T other = shuffle_xor(x, lanes);
    // The lower lane's part first, so that both lanes compute the same.
    x = (threadIdx.x & lanes) == 0 ? join(x, other) : join(other, x);
  }
  return x;
}

// Every thread of a block of whole warps gets the result. `shared` has one element per warp and may
// be used again after the next barrier.
template <class T, class Join>
__device__ T block_reduce(T x, T* shared, Join join) {
  x = warp_reduce(x, join);
  const unsigned warps = blockDim.x / kWarp;
  if (warps == 1) return x;
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  T sum = shared[0];
  for (unsigned w = 1; w < warps; ++w) sum = join(sum, shared[w]);
  return sum;
}

}  // namespace tersor::cuda
