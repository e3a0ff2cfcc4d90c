// Products of a sparse int8 matrix with inputs at any offset of a buffer (offsets.h): four codes of
// input are one 32-bit word, and so are four weights.
//
//   y[m, n] = bias[m] + sum over the entries of row m and i < 4 of
//             code i of the value * (code i of x[column + n] + 128)    modulo 2^32
//
// Exact on every CPU. Immutable: run() may be called concurrently with different buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tersor/base/export.h"
#include "tersor/sparse/int8_form.h"
#include "tersor/sparse/panels.h"

namespace tersor::sparse {

struct OffsetInt8Product {
  const uint32_t* x;  // words of four codes + 128, as uint8
  int64_t columns;
  const int32_t* bias;  // [rows], or null
  int32_t* y;
  ptrdiff_t y_stride;
  int32_t* sums;  // sums_words(columns), 64-byte aligned
};

class TERSOR_API SpmmInt8Offsets {
 public:
  // As SpmmOffsets; a value is the bits of four int8, the first in the lowest byte.
  SpmmInt8Offsets(const SparseRows& w, int64_t depth, int64_t block_rows);

  int64_t rows() const { return panels_.rows(); }
  int64_t blocks() const { return panels_.blocks(); }
  size_t bytes() const { return panels_.bytes(); }
  size_t sums_words(int64_t columns) const;
  // Words of x that may be read beyond the largest offset.
  static int64_t slack(int64_t columns);
  std::string kernel() const;  // such as "spmm_pairs simd_avx2"

  // One block of rows.
  void run(int64_t block, const OffsetInt8Product& product) const;

 private:
  Int8Kernels kernels_;
  SpmmPanels panels_;
};

}  // namespace tersor::sparse
