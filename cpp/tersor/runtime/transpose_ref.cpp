#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

template <class T>
void transpose(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows,
               int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

}  // namespace

void transpose_bytes_ref(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride,
                         int64_t rows, int64_t columns) noexcept {
  transpose(src, src_stride, dst, dst_stride, rows, columns);
}

void transpose_words_ref(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride,
                         int64_t rows, int64_t columns) noexcept {
  transpose(src, src_stride, dst, dst_stride, rows, columns);
}

}  // namespace tersor::runtime
