// Copies of a row of every channel, one for each kernel column, for sparse convolutions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

// For c < channels, k < copies, j < pitch:
//   planes[c * plane + k * copy + j] = row[c * row_stride + k * shift + j * step]
// Elements are only moved, so all variants give the same bytes. row has values at every place that
// this names; planes does not overlap it.
struct ShiftPlanes {
  const uint32_t* row;  // row_stride may be 0
  int64_t row_stride, channels, copies, shift, step;
  uint32_t* planes;
  int64_t plane, copy, pitch;
};
using shift_planes_sig = void(const ShiftPlanes& p) noexcept;

}  // namespace tersor::runtime
