// y = W x + bias in int8 with int32 sums, W sparse in blocks of 1 x 4 along the depth.
//
//   y[m, n] = bias[m] + sum over k of w[m, k] * x[k, n]     modulo 2^32, exact on every CPU
//
// A block is stored where one of its four codes is not 0, so any mask works; masks of whole blocks
// pay. Immutable: run() may be called concurrently with different scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/sparse/panels.h"

namespace tersor::sparse {

// What the kernels multiply: int16 pairs, or uint8 x int8 quads where the CPU has VNNI. Elsewhere
// quads have only the reference kernel.
enum class Int8Form : uint8_t { automatic, pairs, quads };

class TERSOR_API SpmmInt8Plan {
 public:
  // Values of w are int8 codes. ValueError where one is not, or a sum could leave int32 (255 times
  // the sum of |w| of a row). Tilings count the depth in blocks.
  SpmmInt8Plan(const SparseRows& w, int64_t columns, SpmmTiling tiling = {},
               Int8Form form = Int8Form::automatic);

  int64_t rows() const { return panels_.rows(); }
  int64_t depth() const { return depth_; }
  const SpmmTiling& tiling() const { return panels_.tiling(); }
  size_t bytes() const { return panels_.bytes() + row_sums_.size() * sizeof(int32_t); }

  // x [depth][columns] of uint8, or of int8 where x_signed; y [rows][columns]. bias may be null.
  // scratch: scratch_bytes(columns, threads), 64-byte aligned; threads 0: all.
  void run(const void* x, bool x_signed, ptrdiff_t x_stride, int64_t columns, const int32_t* bias,
           int32_t* y, ptrdiff_t y_stride, void* scratch, int threads) const;
  size_t scratch_bytes(int64_t columns, int threads) const;

 private:
  struct Product;
  size_t worker_bytes(int64_t columns) const;
  void run_block(const Product& p, int64_t block, ColumnRange range, char* scratch) const;

  SpmmPanels panels_;
  int64_t depth_;
  bool quads_;
  std::vector<int32_t> row_sums_;
};

}  // namespace tersor::sparse
