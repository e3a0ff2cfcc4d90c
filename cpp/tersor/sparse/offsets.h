// Products of a sparse matrix with inputs at any offset of a buffer: a convolution over padded
// planes, whose patches overlap and are never copied.
//
//   y[m, n] = clamp(bias[m] + sum over the entries of row m, ascending, of value * x[column + n],
//                   low, high)                                            for n < columns
//
// |error| <= (entries + 2) * eps * (|bias| + sum |value * x|). Only stored entries count. Results
// depend on nothing else. Immutable: run() may be called concurrently with different buffers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/sparse/panels.h"

namespace tersor::sparse {

struct OffsetProduct {
  const float* x;
  int64_t columns;
  const float* bias;  // [rows], or null
  float low, high;
  float* y;
  ptrdiff_t y_stride;
  float* sums;  // sums_floats(columns), 64-byte aligned
};

class TERSOR_API SpmmOffsets {
 public:
  // Columns of w are offsets; `depth` of them, at most 65535, are read in a tile. Rows come in
  // blocks of at most block_rows. ValueError where one is out of range.
  SpmmOffsets(const SparseRows& w, int64_t depth, int64_t block_rows);

  int64_t rows() const { return panels_.rows(); }
  int64_t blocks() const { return panels_.blocks(); }
  size_t bytes() const { return panels_.bytes(); }
  size_t sums_floats(int64_t columns) const;
  // Values of x that may be read beyond the largest offset.
  static int64_t slack(int64_t columns);

  // One block of rows.
  void run(int64_t block, const OffsetProduct& product) const;

 private:
  SpmmPanels panels_;
};

}  // namespace tersor::sparse
