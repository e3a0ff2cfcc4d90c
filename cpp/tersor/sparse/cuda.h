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

}  // namespace tersor::sparse
