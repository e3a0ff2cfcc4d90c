#include <cuda_runtime.h>

#include <cmath>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/scales_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

struct Least {
  __device__ float operator()(float a, float b) const { return fminf(a, b); }
};
struct Most {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Floats as integers of the same order, so that integer atomics find extremes: exact in any order.
__device__ int ordered(float x) {
  const int bits = __float_as_int(x + 0.0f);
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}
__device__ float unordered(int x) { return __int_as_float(x >= 0 ? x : x ^ 0x7fffffff); }

__global__ void __launch_bounds__(kThreads)
    start_kernel(int* ranges, std::size_t scales, std::int32_t* nan) {
  const std::size_t s = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  if (s == 0) *nan = 0;
  if (s >= scales) return;
  ranges[2 * s] = ordered(INFINITY);
  ranges[2 * s + 1] = ordered(-INFINITY);
}

__global__ void __launch_bounds__(kThreads) finish_kernel(int* ranges, std::size_t scales) {
  const std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  if (i < 2 * scales) reinterpret_cast<float*>(ranges)[i] = unordered(ranges[i]);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    min_max_kernel(const T* x, std::size_t n, bool vectors, int* ranges, std::int32_t* nan) {
  TERSOR_SHARED(float, shared, 2 * kThreads / cuda::kWarp);
  float lo = INFINITY, hi = -INFINITY;
  bool bad = false;
  for (std::size_t v = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; v < (n + 7) / 8;
       v += std::size_t{gridDim.x} * blockDim.x) {
    const std::size_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    float a[8];
    if (vectors && count == 8) {
      cuda::load8(x + first, a);
    } else {
      cuda::load_some(x + first, count, a);
    }
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) {
      if (k >= count) continue;
      lo = fminf(lo, a[k]);
      hi = fmaxf(hi, a[k]);
      bad = bad || isnan(a[k]);
    }
  }
  if (bad) *nan = 1;
  lo = cuda::block_reduce(lo, shared, Least{});
  hi = cuda::block_reduce(hi, shared + kThreads / cuda::kWarp, Most{});
  if (threadIdx.x == 0) {
    atomicMin(ranges, ordered(lo));
    atomicMax(ranges + 1, ordered(hi));
  }
}

// Several scales. A thread keeps what it saw of a scale until the next one.
template <class T>
__global__ void __launch_bounds__(kThreads)
    min_max_scales_kernel(const T* x, DeviceLayout layout, std::uint64_t each, int* ranges,
                          std::int32_t* nan) {
  const std::uint64_t first = (blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x) * each;
  if (first >= layout.size) return;
  const std::uint64_t end = first + each < layout.size ? first + each : layout.size;
  Place place(layout, first);
  float lo = INFINITY, hi = -INFINITY;
  std::uint64_t s = place.scale();
  for (std::uint64_t i = first; i < end; ++i, place.next()) {
    const std::uint64_t here = place.scale();
    if (here != s) {
      atomicMin(ranges + 2 * s, ordered(lo));
      atomicMax(ranges + 2 * s + 1, ordered(hi));
      lo = INFINITY;
      hi = -INFINITY;
      s = here;
    }
    const float v = cuda::to_float(x[i]);
    lo = fminf(lo, v);
    hi = fmaxf(hi, v);
    if (isnan(v)) *nan = 1;
  }
  atomicMin(ranges + 2 * s, ordered(lo));
  atomicMax(ranges + 2 * s + 1, ordered(hi));
}

// Counts in shared memory, in 32 bits: a block sees fewer than 2^32 values.
template <class T>
__global__ void __launch_bounds__(kThreads)
    histogram_kernel(const T* x, std::size_t n, double inverse_width, int first, unsigned bins,
                     unsigned long long* counts) {
  TERSOR_SHARED(unsigned, local, kBins);
  for (unsigned b = threadIdx.x; b < bins; b += blockDim.x) local[b] = 0;
  __syncthreads();
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    // In double: the product of a tiny negative value would vanish in float.
    const double v = static_cast<double>(cuda::to_float(x[i])) * inverse_width;
    const unsigned bin = static_cast<unsigned>(static_cast<int>(floor(v)) - first);
    if (bin < bins) atomicAdd(&local[bin], 1u);
  }
  __syncthreads();
  for (unsigned b = threadIdx.x; b < bins; b += blockDim.x) {
    if (local[b] > 0) atomicAdd(&counts[b], static_cast<unsigned long long>(local[b]));
  }
}

}  // namespace

void min_max_cuda(const void* x, Number type, const AffineShape& shape, float* ranges,
                  std::int32_t* nan, Stream stream) {
  const std::size_t scales = shape.scales();
  auto* const bits = reinterpret_cast<int*>(ranges);
  cuda::Grid grid;
  grid.stream = stream;
  grid.blocks.x = static_cast<unsigned>((2 * scales + kThreads - 1) / kThreads);
  cuda::launch("min_max", grid, start_kernel, bits, scales, nan);
  const DeviceLayout layout(shape);
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    cuda::Grid work = grid;
    if (scales == 1) {
      work.blocks.x = cuda::blocks_for((layout.size + 7) / 8);
      cuda::launch("min_max", work, min_max_kernel<T>, static_cast<const T*>(x), shape.size(),
                   cuda::aligned(x, 16), bits, nan);
    } else {
      constexpr std::uint64_t kEach = 64;
      work.blocks.x =
          static_cast<unsigned>((layout.size + kEach * kThreads - 1) / (kEach * kThreads));
      cuda::launch("min_max", work, min_max_scales_kernel<T>, static_cast<const T*>(x), layout,
                   kEach, bits, nan);
    }
  });
  cuda::launch("min_max", grid, finish_kernel, bits, scales);
}

std::vector<Range> min_max_scales_cuda(const void* x, Number type, const AffineShape& shape,
                                       const char* what, Stream stream) {
  TERSOR_CHECK(shape.size() > 0, what, ": x must have at least one value, got none");
  const std::size_t scales = shape.scales();
  cuda::Memory memory(2 * scales * sizeof(float) + sizeof(std::int32_t), stream);
  float* const ranges = memory.as<float>();
  min_max_cuda(x, type, shape, ranges, reinterpret_cast<std::int32_t*>(ranges + 2 * scales),
               stream);
  std::vector<float> host(2 * scales + 1);
  cuda::copy_to_host(host.data(), ranges, host.size() * sizeof(float), stream);
  std::int32_t nan;
  std::memcpy(&nan, &host.back(), sizeof nan);
  TERSOR_CHECK(nan == 0, what, ": x must be finite, got nan");
  std::vector<Range> out(scales);
  for (std::size_t s = 0; s < scales; ++s) {
    out[s] = {host[2 * s], host[2 * s + 1]};
    TERSOR_CHECK(std::isfinite(out[s].lo) && std::isfinite(out[s].hi), what,
                 ": x must be finite, got ", std::isfinite(out[s].lo) ? out[s].hi : out[s].lo);
  }
  return out;
}

Histogram histogram_cuda(const void* x, Number type, std::size_t n, const char* what,
                         Stream stream) {
  AffineShape all;
  all.inner = n;
  const Range range = min_max_scales_cuda(x, type, all, what, stream).front();
  // Two values tell the grid that all of them get.
  Histogram grid_of_range;
  const float ends[2] = {range.lo, range.hi};
  grid_of_range.add(ends, 2, what);
  const std::size_t bins = grid_of_range.counts().size();
  cuda::Memory counts(bins * sizeof(std::uint64_t), stream);
  cuda::fill_bytes(counts.data(), 0, bins * sizeof(std::uint64_t), stream);
  cuda::Grid grid;
  grid.stream = stream;
  grid.blocks.x = cuda::blocks_for(n);
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    cuda::launch(what, grid, histogram_kernel<T>, static_cast<const T*>(x), n,
                 1 / grid_of_range.width(), static_cast<int>(grid_of_range.first()),
                 static_cast<unsigned>(bins), counts.as<unsigned long long>());
  });
  std::vector<std::uint64_t> host(bins);
  cuda::copy_to_host(host.data(), counts.data(), bins * sizeof(std::uint64_t), stream);
  return Histogram::from_parts(range, grid_of_range.exponent(), grid_of_range.first(),
                               std::move(host));
}

}  // namespace tersor::quantization
