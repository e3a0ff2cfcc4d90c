// Scores of blocks of a matrix, and masks of blocks as masks of entries.
//
// Blocks of block_rows x block_columns cover [rows][columns] from its corner; the last ones are
// short where the sizes do not divide. They stand in row-major order: ceil(rows / block_rows) x
// ceil(columns / block_columns).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::pruning {

struct BlockShape {
  std::size_t rows, columns, block_rows, block_columns;  // blocks of at least 1 x 1

  std::size_t down() const { return (rows + block_rows - 1) / block_rows; }
  std::size_t across() const { return (columns + block_columns - 1) / block_columns; }
};

enum class BlockScore { sum, l1, l2 };

// out[down][across]: sum of x, of |x|, or the root of the sum of x^2, summed in float64 row by row
// and rounded to float32 (at most FLT_MAX for finite x).
TERSOR_API void block_scores(const float* x, const BlockShape& shape, BlockScore kind, float* out);

// mask[r][c] = blocks of the block that holds it.
TERSOR_API void expand_blocks(const std::uint8_t* blocks, const BlockShape& shape,
                              std::uint8_t* mask);

}  // namespace tersor::pruning
