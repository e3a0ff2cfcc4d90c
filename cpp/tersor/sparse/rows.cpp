#include "tersor/sparse/rows.h"

namespace tersor::sparse {

SparseRows rows_of_dense(const float* w, int64_t rows, int64_t columns, int64_t stride) {
  SparseRows out{rows, columns, {}, {}, {}};
  out.start.assign(static_cast<size_t>(rows) + 1, 0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      const float v = w[r * stride + c];
      if (v == 0.0f) continue;
      out.column.push_back(static_cast<int32_t>(c));
      out.value.push_back(v);
    }
    out.start[static_cast<size_t>(r) + 1] = out.entries();
  }
  return out;
}

}  // namespace tersor::sparse
