// The entries of a sparse matrix, row by row: what every format converts to and from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::sparse {

// Entries of row r are [start[r], start[r + 1]); their columns ascend.
struct SparseRows {
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> start;   // [rows + 1]
  std::vector<int32_t> column;  // [entries]
  std::vector<float> value;     // [entries]

  int64_t entries() const { return static_cast<int64_t>(value.size()); }
};

// Keeps what is not 0 (NaN is kept). `stride` values from row to row.
TERSOR_API SparseRows rows_of_dense(const float* w, int64_t rows, int64_t columns, int64_t stride);

}  // namespace tersor::sparse
