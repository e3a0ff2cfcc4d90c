// Kernels of sparse x dense in int8: entries are blocks of 1 x 4 along the depth. Everything is
// exact in int32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::sparse {

// Rows of W in groups, interleaved and padded as in spmm.h; an entry's value is four int8 codes,
// its index a quad of the tile's depth. For every row of a group and column n < columns:
//   sum = first ? bias[row] : sums[row][n]
//   sum += value[i] * x(index, i, n) over its entries and i < 4
//   last: y[row * y_stride + n] = sum, else sums[row * sums_stride + n] = sum
// modulo 2^32. A row of block_rows stands for none. stride, sums_stride: multiples of kSpmmPad.
// x of spmm_pairs: int16 at tile[((2 * index + i / 2) * stride + n) * 2 + i % 2]
// x of spmm_quads: uint8 at tile[(index * stride + n) * 4 + i]
struct SpmmInt8Tile {
  const void* x;
  int64_t stride, columns;
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

// Makes the tile of `quads` quads from `rows` <= 4 * quads rows of codes, and one quad after it
// that padding reads. Rows that x does not have may be anything, since their weights are 0, and so
// may columns from `columns` to `stride`. Pairs: int16 of uint8, or of int8 where is_signed. Quads:
// the byte, plus 128 where is_signed.
struct SpmmInt8Pack {
  const uint8_t* x;
  ptrdiff_t x_stride;
  int64_t rows, quads, columns;
  bool is_signed;
  void* tile;
  int64_t stride;
};
using spmm_pack_pairs_sig = void(const SpmmInt8Pack& pack) noexcept;
using spmm_pack_quads_sig = void(const SpmmInt8Pack& pack) noexcept;

}  // namespace tersor::sparse
