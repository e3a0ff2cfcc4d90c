// dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < columns: what a change of
// layout does to each image. Elements are only moved, so all variants give the same bytes. Strides
// in elements, at least `columns` and `rows`. The buffers may not overlap.
#pragma once

#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::runtime {

using transpose_bytes_sig = void(const uint8_t* src, int64_t src_stride, uint8_t* dst,
                                 int64_t dst_stride, int64_t rows, int64_t columns) noexcept;
using transpose_words_sig = void(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                 int64_t dst_stride, int64_t rows, int64_t columns) noexcept;

}  // namespace tersor::runtime
