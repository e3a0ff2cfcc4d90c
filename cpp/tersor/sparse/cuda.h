// y = clamp(W x + bias, low, high) with W sparse on a CUDA device, as matmul.h defines it: entries
// of a row in ascending order, so that results do not depend on the schedule.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/cuda/stream.h"

namespace tersor::sparse {

// The parts of matrix.h in device memory, with 32-bit numbers.
struct DeviceSparse {
  enum class Format { csr, block, nm } format = Format::csr;
  std::size_t rows = 0, columns = 0;
  const float* values = nullptr;
  // csr: column of each entry; block: block column; nm: null.
  const std::int32_t* indices = nullptr;
  const std::uint8_t* positions = nullptr;  // nm: in the group, one byte each
  const std::int32_t* starts = nullptr;     // csr: rows + 1; block: block rows + 1
  std::size_t height = 1, width = 1;        // of a block
  std::size_t n = 2, m = 4;                 // nm
  const float* bias = nullptr;
  float low = 0, high = 0;
};
// x [columns][products] and y [rows][products], contiguous.
void spmm_cuda(const DeviceSparse& w, const float* x, std::size_t products, float* y,
               cuda::Stream stream);

// y[m, o] = clamp(sum over k of x[m, k] * w[o, k] + bias[o], low, high) with bfloat16 x and w,
// float32 sums, and w of which in every four inputs at most two are not 0 (2:4), on the sparse
// tensor cores. Outputs are padded to tiles of 16 and inputs to pieces of 64. With lane = 4 g + t,
// a word of `values` holds the two kept values of four inputs, the first in the lower half:
//   values[tile][piece][h][lane][2 s + r]: of output g + 8 r, inputs 32 h + 16 s + 4 t and on;
//   places[tile][piece][lane]: of inputs 32 (t / 2) + 16 (t % 2) and on; bits 0 to 15 of output g,
//     16 to 31 of g + 8; for each four inputs the places (0 to 3) of the first and of the second.
struct DeviceDense24 {
  const std::uint32_t* values = nullptr;  // aligned to 16 bytes
  const std::uint32_t* places = nullptr;
  std::size_t outputs = 0, inputs = 0;
  const float* bias = nullptr;  // [outputs], or null
  float low = 0, high = 0;
};
// x [rows][inputs] of bfloat16, y [rows][outputs].
void dense_24_cuda(const DeviceDense24& layer, const void* x, std::size_t rows, void* y,
                   cuda::Number type, cuda::Stream stream);

}  // namespace tersor::sparse
