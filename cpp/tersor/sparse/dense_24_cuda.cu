// A dense layer with 2:4 weights on the sparse tensor cores. A block has 128 outputs and 64 rows of
// x; its warps have 32 outputs each and share x in shared memory. Weights lie as the fragments that
// a lane wants, so that it reads 16 bytes beside those of its neighbours.
#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/mma.h"
#include "tersor/cuda/shared.h"
#include "tersor/sparse/cuda.h"

namespace tersor::sparse {
namespace {

using cuda::BFloat16;
using cuda::kWarp;

constexpr unsigned kWarps = 4, kThreads = kWarps * kWarp;
constexpr unsigned kTiles = 2;                        // of 16 outputs, of a warp
constexpr unsigned kRows = 64, kColumns = kRows / 8;  // of x; products of eight columns
constexpr unsigned kInputs = 64;                      // of a piece
// Eight rows four words further each: the 32 lanes read 32 banks.
constexpr unsigned kStride = kInputs / 2 + 4;
constexpr unsigned kVectors = kRows * kInputs / 8 / kThreads;  // of eight values, of a thread

// What a lane holds of a piece of its warp's weights.
struct Weights {
  uint4 values[kTiles][2];
  std::uint32_t places[kTiles];
};

__device__ inline void load_weights(const DeviceDense24& d, std::size_t tile, std::size_t tiles,
                                    std::size_t piece, std::size_t pieces, Weights& w) {
  const unsigned lane = threadIdx.x % kWarp;
#pragma unroll
  for (unsigned i = 0; i < kTiles; ++i) {
    const std::size_t at = (tile + i < tiles ? tile + i : tiles - 1) * pieces + piece;
    const auto* values = reinterpret_cast<const uint4*>(d.values) + at * 2 * kWarp + lane;
    w.values[i][0] = values[0];
    w.values[i][1] = values[kWarp];
    w.places[i] = d.places[at * kWarp + lane];
  }
}

// Vector number i of this thread: eight values of a row of x, 0 beyond its ends.
__device__ inline uint4 load_x(const DeviceDense24& d, const BFloat16* x, std::size_t first_row,
                               unsigned rows, std::size_t piece, bool vectors, unsigned i) {
  const unsigned at = threadIdx.x + i * kThreads, row = at / (kInputs / 8);
  const std::size_t k = piece * kInputs + at % (kInputs / 8) * 8;
  if (row >= rows || k >= d.inputs) return make_uint4(0, 0, 0, 0);
  const BFloat16* const from = x + (first_row + row) * d.inputs + k;
  if (vectors) return *reinterpret_cast<const uint4*>(from);
  float v[8] = {};
  const std::size_t left = d.inputs - k;
  cuda::load_some(from, static_cast<unsigned>(left < 8 ? left : std::size_t{8}), v);
  return make_uint4(cuda::narrow2(v[0], v[1]), cuda::narrow2(v[2], v[3]), cuda::narrow2(v[4], v[5]),
                    cuda::narrow2(v[6], v[7]));
}

template <int kHalf>
__device__ void multiply(const Weights& w, const std::uint32_t* staged, unsigned rows,
                         float (&y)[kTiles][kColumns][4]) {
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (unsigned n = 0; n < kColumns; ++n) {
    if (8 * n >= rows) break;
    const std::uint32_t* const from = staged + (8 * n + g) * kStride + 16 * kHalf + t;
    const std::uint32_t x[4] = {from[0], from[4], from[8], from[12]};
#pragma unroll
    for (unsigned i = 0; i < kTiles; ++i) {
      const uint4& v = w.values[i][kHalf];
      const std::uint32_t values[4] = {v.x, v.y, v.z, v.w};
      cuda::multiply_add_sparse<kHalf>(y[i][n], values, x, w.places[i]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    dense_24_kernel(DeviceDense24 d, const BFloat16* x, std::size_t all_rows, bool vectors,
                    T* out) {
  TERSOR_SHARED(std::uint32_t, shared, 2 * kRows * kStride);
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const std::size_t tiles = (d.outputs + 15) / 16, pieces = (d.inputs + kInputs - 1) / kInputs;
  const std::size_t tile = (blockIdx.x * std::size_t{kWarps} + threadIdx.x / kWarp) * kTiles;
  const std::size_t first_row = blockIdx.y * std::size_t{kRows};
  const auto rows =
      static_cast<unsigned>(all_rows - first_row < kRows ? all_rows - first_row : kRows);
  Weights next;
  uint4 next_x[kVectors];
  load_weights(d, tile, tiles, 0, pieces, next);
#pragma unroll
  for (unsigned i = 0; i < kVectors; ++i) {
    next_x[i] = load_x(d, x, first_row, rows, 0, vectors, i);
  }
  float y[kTiles][kColumns][4] = {};
  for (std::size_t p = 0; p < pieces; ++p) {
    // Two buffers and one barrier: whoever writes a buffer again has passed the barrier behind its
    // last use.
    std::uint32_t* const staged = shared + p % 2 * (kRows * kStride);
#pragma unroll
    for (unsigned i = 0; i < kVectors; ++i) {
      const unsigned at = threadIdx.x + i * kThreads;
      *reinterpret_cast<uint4*>(staged + at / (kInputs / 8) * kStride + at % (kInputs / 8) * 4) =
          next_x[i];
    }
    const Weights now = next;
    if (p + 1 < pieces) {
      load_weights(d, tile, tiles, p + 1, pieces, next);
#pragma unroll
      for (unsigned i = 0; i < kVectors; ++i) {
        next_x[i] = load_x(d, x, first_row, rows, p + 1, vectors, i);
      }
    }
    __syncthreads();
    multiply<0>(now, staged, rows, y);
    multiply<1>(now, staged, rows, y);
  }
#pragma unroll
  for (unsigned i = 0; i < kTiles; ++i) {
#pragma unroll
    for (unsigned r = 0; r < 2; ++r) {
      const std::size_t o = (tile + i) * 16 + g + 8 * r;
      if (o >= d.outputs) continue;
      const float bias = d.bias ? d.bias[o] : 0.0f;
#pragma unroll
      for (unsigned n = 0; n < kColumns; ++n) {
#pragma unroll
        for (unsigned c = 0; c < 2; ++c) {
          const unsigned row = 8 * n + 2 * t + c;
          if (row >= rows) continue;
          float v = y[i][n][2 * r + c] + bias;
          if (v < d.low) v = d.low;
          if (v > d.high) v = d.high;
          cuda::from_float(v, out[(first_row + row) * d.outputs + o]);
        }
      }
    }
  }
}

}  // namespace

void dense_24_cuda(const DeviceDense24& d, const void* x, std::size_t rows, void* y,
                   cuda::Number type, cuda::Stream stream) {
  if (rows == 0 || d.outputs == 0) return;
  TERSOR_CHECK(d.inputs > 0, "Dense24: inputs must be positive, got 0");
  TERSOR_CHECK(cuda::aligned(d.values, 16), "Dense24: values must be aligned to 16 bytes");
  cuda::Grid grid;
  grid.threads = kThreads;
  grid.stream = stream;
  constexpr std::size_t kOutputs = std::size_t{16} * kTiles * kWarps;
  const std::size_t passes = (rows + kRows - 1) / kRows;
  TERSOR_CHECK(passes <= 65535, "Dense24: x must have fewer rows, got ", rows);
  grid.blocks = dim3(static_cast<unsigned>((d.outputs + kOutputs - 1) / kOutputs),
                     static_cast<unsigned>(passes));
  const bool vectors = cuda::aligned(x, 16) && d.inputs % 8 == 0;
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    cuda::launch("Dense24", grid, dense_24_kernel<T>, d, static_cast<const BFloat16*>(x), rows,
                 vectors, static_cast<T*>(y));
  });
}

}  // namespace tersor::sparse
