// Square blocks of 16 bytes a row in registers: log2(n) rounds of zipping row i with row i + n / 2
// transpose n rows of n elements. Three and four rows (the channels of an image) are interleaved
// by a plain loop, which compilers turn into shuffles.
#include <cstring>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));

static inline Bytes zip_low(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
static inline Bytes zip_high(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}
static inline Words zip_low(Words a, Words b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
static inline Words zip_high(Words a, Words b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }

template <class V, int kRounds, class T>
static inline void block(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  constexpr int n = 1 << kRounds;
  V a[n], b[n];
  for (int i = 0; i < n; ++i) std::memcpy(&a[i], src + i * src_stride, sizeof(V));
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < n / 2; ++i) {
      b[2 * i] = zip_low(a[i], a[i + n / 2]);
      b[2 * i + 1] = zip_high(a[i], a[i + n / 2]);
    }
    for (int i = 0; i < n; ++i) a[i] = b[i];
  }
  for (int i = 0; i < n; ++i) std::memcpy(dst + i * dst_stride, &a[i], sizeof(V));
}

template <class T>
static inline void plain(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows,
                         int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

template <int kRows, class T>
static inline void interleave(const T* __restrict src, int64_t src_stride, T* __restrict dst,
                              int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int r = 0; r < kRows; ++r) dst[c * kRows + r] = src[r * src_stride + c];
  }
}

template <int kColumns, class T>
static inline void separate(const T* __restrict src, T* __restrict dst, int64_t dst_stride,
                            int64_t rows) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int c = 0; c < kColumns; ++c) dst[c * dst_stride + r] = src[r * kColumns + c];
  }
}

template <class V, int kRounds, class T>
static inline void transpose(const T* src, int64_t src_stride, T* dst, int64_t dst_stride,
                             int64_t rows, int64_t columns) {
  if (rows == 3 && dst_stride == 3) return interleave<3>(src, src_stride, dst, columns);
  if (rows == 4 && dst_stride == 4) return interleave<4>(src, src_stride, dst, columns);
  if (columns == 3 && src_stride == 3) return separate<3>(src, dst, dst_stride, rows);
  if (columns == 4 && src_stride == 4) return separate<4>(src, dst, dst_stride, rows);
  constexpr int n = 1 << kRounds;
  if (rows < n || columns < n) return plain(src, src_stride, dst, dst_stride, rows, columns);
  for (int64_t c = 0; c < columns; c += n) {
    const int64_t column = c + n <= columns ? c : columns - n;  // the last block overlaps its
    for (int64_t r = 0; r < rows; r += n) {                     // neighbour and writes the same
      const int64_t row = r + n <= rows ? r : rows - n;
      block<V, kRounds>(src + row * src_stride + column, src_stride,
                        dst + column * dst_stride + row, dst_stride);
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(transpose_bytes)(const uint8_t* src, int64_t src_stride, uint8_t* dst,
                                       int64_t dst_stride, int64_t rows, int64_t columns) noexcept {
  transpose<Bytes, 4>(src, src_stride, dst, dst_stride, rows, columns);
}

void TERSOR_SIMD_NAME(transpose_words)(const uint32_t* src, int64_t src_stride, uint32_t* dst,
                                       int64_t dst_stride, int64_t rows, int64_t columns) noexcept {
  transpose<Words, 2>(src, src_stride, dst, dst_stride, rows, columns);
}

}  // namespace tersor::runtime
