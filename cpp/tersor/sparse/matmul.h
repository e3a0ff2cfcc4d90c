// y = act(W x + bias) with W sparse and x dense, in float32.
//
// A plan holds W in the form that the kernels read: blocks of rows, tiles of depth whose inputs fit
// a cache, 16-bit indices inside a tile, rows of a tile ordered by their number of entries. It
// depends on the number of columns that it was made for, and multiplies any number of them
// correctly. Immutable: run() may be called concurrently with different scratch.
//
//   y[m, n] = clamp(bias[m] + sum over the entries k of row m, ascending, of w[m, k] * x[k, n],
//                   low, high), then with a residual clamp(y + residual[m, n], post_low, post_high)
//
// Only stored entries count: 0 * infinity does not occur outside of them. |error| <=
// (entries + 2) * eps * (|bias| + sum |w * x|). Results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "tersor/base/export.h"
#include "tersor/sparse/panels.h"

namespace tersor::sparse {

struct SpmmEpilogue {
  const float* bias = nullptr;      // [rows]
  const float* residual = nullptr;  // [rows][columns], residual_stride apart
  ptrdiff_t residual_stride = 0;
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  float post_low = -std::numeric_limits<float>::infinity();
  float post_high = std::numeric_limits<float>::infinity();
};

class TERSOR_API SpmmPlan {
 public:
  // For products with about `columns` columns; what is 0 in the tiling is chosen from the shape,
  // the entries and the columns. ValueError where a tiling is out of range.
  SpmmPlan(const SparseRows& w, int64_t columns, SpmmTiling tiling = {});

  int64_t rows() const { return panels_.rows(); }
  int64_t depth() const { return panels_.depth(); }
  const SpmmTiling& tiling() const { return panels_.tiling(); }
  size_t bytes() const { return panels_.bytes(); }

  // x [depth][columns] and y [rows][columns], x_stride and y_stride floats from row to row. y may
  // be the residual, and overlaps nothing else. scratch: scratch_bytes(columns, threads), 64-byte
  // aligned; threads 0: all.
  void run(const float* x, ptrdiff_t x_stride, int64_t columns, const SpmmEpilogue& epilogue,
           float* y, ptrdiff_t y_stride, void* scratch, int threads) const;
  size_t scratch_bytes(int64_t columns, int threads) const;

 private:
  struct Product;
  size_t worker_bytes(int64_t columns) const;
  void run_block(const Product& p, int64_t block, ColumnRange range, char* scratch) const;
  void run_vector(const Product& p, int64_t block, int64_t column, char* scratch) const;

  SpmmPanels panels_;
};

}  // namespace tersor::sparse
