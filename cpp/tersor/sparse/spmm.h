// Kernels of sparse x dense in float32: one block of rows, one tile of depth, one tile of columns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::sparse {

// Rows of W that a group may hold.
inline constexpr int kSpmmMostTogether = 8;
// Rows of x, of packed tiles and of sums may be read up to the next multiple of this many columns.
inline constexpr int64_t kSpmmPad = 16;

// Rows come in groups of `together`, whose entries are interleaved and padded to the length of the
// longest with value 0 and a depth that holds zeros. For every group g, i < together, n < columns:
//   row = rows[g][i]; a row of block_rows stands for none
//   sum = first ? bias[row] : sums[row][n]
//   sum += values[at + e * together + i] * x[index[at + e * together + i] * x_stride + n]
//          for e < counts[g] in this order, `at` counting the entries of the groups before
//   last:     y = clamp(sum, low, high); with a residual y = clamp(y + residual, post_low,
//             post_high); y[row * y_stride + n] = y
//   else:     sums[row * sums_stride + n] = sum
// Each row of the block occurs once. clamp keeps NaN. Multiply and add may round once or twice:
// |error| <= (entries + 2) * eps * sum |value * x|. y may equal residual; bias may be null (0).
// sums has block_rows + 1 rows, kept in whole multiples of kSpmmPad columns.
struct SpmmTile {
  const float* x;
  ptrdiff_t x_stride;
  int64_t columns;
  int64_t groups;
  int together;  // 1, 2, 4 or 8
  const uint16_t* counts;
  const uint16_t* rows;
  const float* values;
  const uint16_t* index;
  bool first, last;
  float* sums;
  ptrdiff_t sums_stride;
  int64_t block_rows;
  const float* bias;
  const float* residual;
  ptrdiff_t residual_stride;
  float* y;
  ptrdiff_t y_stride;
  float low, high;
  float post_low, post_high;
};
using spmm_tile_sig = void(const SpmmTile& tile) noexcept;

// tile[k * tile_stride + n] = x[k * x_stride + n] for k < depth, n < columns; columns from there to
// tile_stride, and row `depth`, are 0.
struct SpmmPack {
  const float* x;
  ptrdiff_t x_stride;
  int64_t depth, columns;
  float* tile;
  ptrdiff_t tile_stride;
};
using spmm_pack_sig = void(const SpmmPack& pack) noexcept;

}  // namespace tersor::sparse
