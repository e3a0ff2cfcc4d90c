// Kernel of sparse x vector in float32: one block of rows, one tile of depth.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::sparse {

// Rows of one group.
inline constexpr int kSpmvTogether = 16;

// Rows come in groups of kSpmvTogether, interleaved and padded like those of spmm.h:
//   sums[g * 16 + i] = (first ? 0 : sums[g * 16 + i])
//                    + sum over e < counts[g] of values[at + e * 16 + i] * x[index[at + e * 16 +
//                    i]]
// The order of a row's sum is free: |error| <= entries * eps * sum |value * x|.
struct SpmvTile {
  const float* x;
  int64_t groups;
  const uint16_t* counts;
  const float* values;
  const uint16_t* index;
  bool first;
  float* sums;
};
using spmv_tile_sig = void(const SpmvTile& tile) noexcept;

}  // namespace tersor::sparse
