#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/sparse/cuda.h"

namespace tersor::sparse {
namespace {

using cuda::kThreads;
using cuda::kWarp;
using Format = DeviceSparse::Format;

constexpr unsigned kColumns = 4;  // of x for each lane, 32 apart

struct Entry {
  float value;
  std::size_t column;
};

// Entries of a row, numbered from 0.
__device__ std::size_t entries_of(const DeviceSparse& w, std::size_t row) {
  switch (w.format) {
    case Format::csr:
      return static_cast<std::size_t>(w.starts[row + 1] - w.starts[row]);
    case Format::block: {
      const std::size_t r = row / w.height;
      return static_cast<std::size_t>(w.starts[r + 1] - w.starts[r]) * w.width;
    }
    case Format::nm:
      return (w.columns + w.m - 1) / w.m * w.n;
  }
  return 0;
}
__device__ Entry entry_of(const DeviceSparse& w, std::size_t row, std::size_t e,
                          std::size_t entries) {
  switch (w.format) {
    case Format::csr: {
      const std::size_t at = static_cast<std::size_t>(w.starts[row]) + e;
      return {w.values[at], static_cast<std::size_t>(w.indices[at])};
    }
    case Format::block: {
      const std::size_t b = static_cast<std::size_t>(w.starts[row / w.height]) + e / w.width;
      const std::size_t at = (b * w.height + row % w.height) * w.width + e % w.width;
      const std::size_t column = static_cast<std::size_t>(w.indices[b]) * w.width + e % w.width;
      // Blocks may reach over the edge of the matrix, with value 0.
      return {w.values[at], column < w.columns ? column : std::size_t{0}};
    }
    case Format::nm: {
      const std::size_t at = row * entries + e, column = e / w.n * w.m + w.positions[at];
      return {w.values[at], column < w.columns ? column : std::size_t{0}};
    }
  }
  return {0, 0};
}

__device__ float finished(const DeviceSparse& w, std::size_t row, float y) {
  if (w.bias) y += w.bias[row];
  if (y < w.low) return w.low;
  return y > w.high ? w.high : y;
}

// A warp per row; lanes along the columns of x. 32 entries are read at once and handed round.
__global__ void __launch_bounds__(kThreads)
    spmm_kernel(DeviceSparse w, const float* x, std::size_t products, float* y) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::size_t first = blockIdx.y * std::size_t{kWarp * kColumns} + lane;
  for (std::size_t row = (blockIdx.x * std::size_t{blockDim.x} + threadIdx.x) / kWarp; row < w.rows;
       row += std::size_t{gridDim.x} * blockDim.x / kWarp) {
    const std::size_t entries = entries_of(w, row);
    float sums[kColumns] = {};
    for (std::size_t begin = 0; begin < entries; begin += kWarp) {
      Entry mine = {0, 0};
      if (begin + lane < entries) mine = entry_of(w, row, begin + lane, entries);
      const auto column = static_cast<int>(mine.column);
      const unsigned count =
          static_cast<unsigned>(entries - begin < kWarp ? entries - begin : std::size_t{kWarp});
      for (unsigned e = 0; e < count; ++e) {
        const float value = __shfl_sync(cuda::kFullWarp, mine.value, static_cast<int>(e));
        const auto k =
            static_cast<std::size_t>(__shfl_sync(cuda::kFullWarp, column, static_cast<int>(e)));
        // Padding of a format is no entry: 0 * infinity must not occur.
        if (w.format != Format::csr && value == 0) continue;
#pragma unroll
        for (unsigned i = 0; i < kColumns; ++i) {
          const std::size_t c = first + i * kWarp;
          if (c < products) sums[i] = fmaf(value, x[k * products + c], sums[i]);
        }
      }
    }
#pragma unroll
    for (unsigned i = 0; i < kColumns; ++i) {
      const std::size_t c = first + i * kWarp;
      if (c < products) y[row * products + c] = finished(w, row, sums[i]);
    }
  }
}

// One column of x: lanes along the entries.
__global__ void __launch_bounds__(kThreads) spmv_kernel(DeviceSparse w, const float* x, float* y) {
  const unsigned lane = threadIdx.x % kWarp;
  for (std::size_t row = (blockIdx.x * std::size_t{blockDim.x} + threadIdx.x) / kWarp; row < w.rows;
       row += std::size_t{gridDim.x} * blockDim.x / kWarp) {
    const std::size_t entries = entries_of(w, row);
    float sum = 0;
    for (std::size_t e = lane; e < entries; e += kWarp) {
      const Entry entry = entry_of(w, row, e, entries);
      if (w.format != Format::csr && entry.value == 0) continue;
      sum = fmaf(entry.value, x[entry.column], sum);
    }
    sum = cuda::warp_reduce(sum, cuda::Add{});
    if (lane == 0) y[row] = finished(w, row, sum);
  }
}

}  // namespace

void spmm_cuda(const DeviceSparse& w, const float* x, std::size_t products, float* y,
               cuda::Stream stream) {
  if (w.rows == 0 || products == 0) return;
  cuda::Grid grid;
  grid.stream = stream;
  grid.blocks.x = cuda::blocks_for(w.rows * kWarp);
  if (products == 1) return cuda::launch("sparse.matmul", grid, spmv_kernel, w, x, y);
  grid.blocks.y = static_cast<unsigned>((products + kWarp * kColumns - 1) / (kWarp * kColumns));
  TERSOR_CHECK(grid.blocks.y <= 65535, "sparse.matmul: x must have at most 8388480 columns, got ",
               products);
  cuda::launch("sparse.matmul", grid, spmm_kernel, w, x, products, y);
}

}  // namespace tersor::sparse
