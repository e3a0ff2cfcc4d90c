#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/codebook/cuda.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"

namespace tersor::codebook {
namespace {

using cuda::kThreads;

__global__ void __launch_bounds__(kThreads)
    count_floats_kernel(const float* x, std::size_t n, bool skip_zeros, unsigned long long* counts,
                        std::int32_t* bad) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const float v = x[i] + 0.0f;  // -0 becomes 0
    const unsigned bits = __float_as_uint(v);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
      *bad = 1;
    } else if (!(skip_zeros && v == 0)) {
      const unsigned long long rest = bits & ((1u << kBinRestBits) - 1);
      atomicAdd(counts + (bits >> kBinRestBits), (1ull << 40) | rest);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    assign_kernel(const float* x, std::size_t n, const float* thresholds, int count,
                  const float* centroids, int zero, std::uint8_t* codes, double* partial) {
  TERSOR_SHARED(float, limits, 256);
  TERSOR_SHARED(float, values, 256);
  TERSOR_SHARED(double, shared, kThreads / cuda::kWarp);
  const int used = count + 1 + (zero >= 0 ? 1 : 0);
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += static_cast<int>(kThreads)) {
    limits[i] = i < count ? thresholds[i] : INFINITY;
    values[i] = i < used ? centroids[i] : 0.0f;
  }
  __syncthreads();
  double error = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const float v = x[i];
    int code = 0;
#pragma unroll
    for (int step = 128; step > 0; step /= 2) {
      if (limits[code + step - 1] < v) code += step;
    }
    if (zero >= 0) {
      if (code >= zero) ++code;
      if (v == 0) code = zero;
    }
    codes[i] = static_cast<std::uint8_t>(code);
    const double d = static_cast<double>(v) - static_cast<double>(values[code]);
    error += d * d;
  }
  error = cuda::block_reduce(error, shared, cuda::Add{});
  if (threadIdx.x == 0) partial[blockIdx.x] = error;
}

__global__ void __launch_bounds__(kThreads)
    add_errors_kernel(const double* partial, std::size_t n, double* error) {
  TERSOR_SHARED(double, shared, kThreads / cuda::kWarp);
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) sum += partial[i];
  sum = cuda::block_reduce(sum, shared, cuda::Add{});
  if (threadIdx.x == 0) *error = sum;
}

}  // namespace

void count_floats_cuda(const float* x, std::size_t n, bool skip_zeros, std::uint64_t* counts,
                       std::int32_t* bad, cuda::Stream stream) {
  TERSOR_CHECK(n <= kMostCounted, "kmeans: at most 2^24 - 1 values may be counted at once, got ",
               n);
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for(n);
  grid.stream = stream;
  cuda::launch("kmeans", grid, count_floats_kernel, x, n, skip_zeros,
               reinterpret_cast<unsigned long long*>(counts), bad);
}

void assign_cuda(const float* x, std::size_t n, const float* thresholds, int count,
                 const float* centroids, int zero, std::uint8_t* codes, double* error,
                 cuda::Stream stream) {
  TERSOR_CHECK(0 <= count && count + (zero >= 0 ? 1 : 0) < 256,
               "kmeans: there must be at most 256 centroids, got ", count + 1);
  cuda::Grid grid;
  grid.stream = stream;
  grid.blocks.x = cuda::blocks_for(n);
  cuda::Memory partial(grid.blocks.x * sizeof(double), stream);
  cuda::launch("kmeans", grid, assign_kernel, x, n, thresholds, count, centroids, zero, codes,
               partial.as<double>());
  const std::size_t parts = grid.blocks.x;
  grid.blocks.x = 1;
  cuda::launch("kmeans", grid, add_errors_kernel, partial.as<double>(), parts, error);
}

}  // namespace tersor::codebook
