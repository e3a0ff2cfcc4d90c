// Kernels of sparse x dense in int8: entries are blocks of 1 x 4 along the depth. Everything is
// exact in int32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::sparse {

// Rows of W in groups, interleaved and padded as in spmm.h; an entry's value is four int8 codes,
// and so is a word of x. For every row of a group and column n < columns:
//   sum = first ? bias[row] : sums[row][n]
//   sum += value[i] * code i of the word at byte index * step + 4 * n, over its entries and i < 4
//   last: y[row * y_stride + n] = sum, else sums[row * sums_stride + n] = sum
// modulo 2^32. A row of block_rows stands for none. Columns of x and of sums may be read up to the
// next multiple of kSpmmPad.
// Codes of x are uint8. spmm_quads takes all values; those of spmm_pairs have |value[0]| +
// |value[1]| and |value[2]| + |value[3]| of at most 128, so that a pair of products fits int16.
struct SpmmInt8Tile {
  const void* x;
  ptrdiff_t step;
  int64_t columns;
  int64_t groups;
  int together;  // 1, 2, 4 or 8
  const uint16_t* counts;
  const uint16_t* rows;
  const void* values;
  const uint16_t* index;
  bool first, last;
  int32_t* sums;
  ptrdiff_t sums_stride;
  int64_t block_rows;
  const int32_t* bias;  // or null: 0
  int32_t* y;
  ptrdiff_t y_stride;
};
using spmm_pairs_sig = void(const SpmmInt8Tile& tile) noexcept;
using spmm_quads_sig = void(const SpmmInt8Tile& tile) noexcept;

// Makes the tile of `quads` words of depth from `rows` <= 4 * quads rows of codes, and one after it
// that padding reads. A code is x ^ flip. Rows that x does not have may be anything, since their
// weights are 0, and so may columns from `columns` to `stride`.
struct SpmmInt8Pack {
  const uint8_t* x;
  ptrdiff_t x_stride;
  int64_t rows, quads, columns;
  uint8_t flip;
  uint8_t* tile;
  int64_t stride;
};
using spmm_pack_quads_sig = void(const SpmmInt8Pack& pack) noexcept;

}  // namespace tersor::sparse
