// Compiled once per instruction set, so everything here but the kernels is static.
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr float kInfinity = __builtin_huge_valf();

// Channels in blocks of kBlock accumulators that stay in registers; the last block is shorter.
template <size_t kBlock, class Sum, class T, class Accumulate, class Finish>
inline void window(const T* __restrict x, ptrdiff_t row_stride, ptrdiff_t pixel_stride, size_t rows,
                   size_t columns, size_t channels, Sum start, Accumulate accumulate,
                   Finish finish) {
  size_t first = 0;
  for (; first + kBlock <= channels; first += kBlock) {
    Sum sums[kBlock];
    for (size_t j = 0; j < kBlock; ++j) sums[j] = start;
    for (size_t r = 0; r < rows; ++r) {
      const T* p = x + static_cast<ptrdiff_t>(r) * row_stride + first;
      for (size_t c = 0; c < columns; ++c, p += pixel_stride) {
        for (size_t j = 0; j < kBlock; ++j) sums[j] = accumulate(sums[j], p[j]);
      }
    }
    for (size_t j = 0; j < kBlock; ++j) finish(first + j, sums[j]);
  }
  const size_t count = channels - first;
  if (!count) return;
  Sum sums[kBlock];
  for (size_t j = 0; j < kBlock; ++j) sums[j] = start;
  for (size_t r = 0; r < rows; ++r) {
    const T* p = x + static_cast<ptrdiff_t>(r) * row_stride + first;
    for (size_t c = 0; c < columns; ++c, p += pixel_stride) {
      for (size_t j = 0; j < count; ++j) sums[j] = accumulate(sums[j], p[j]);
    }
  }
  for (size_t j = 0; j < count; ++j) finish(first + j, sums[j]);
}

}  // namespace

void TERSOR_SIMD_NAME(max_window_float32)(const float* x, ptrdiff_t row_stride,
                                          ptrdiff_t pixel_stride, size_t rows, size_t columns,
                                          size_t channels, float* __restrict y) noexcept {
  window<32>(
      x, row_stride, pixel_stride, rows, columns, channels, -kInfinity,
      [](float a, float v) { return (a != a) | (a > v) ? a : v; },
      [=](size_t c, float v) { y[c] = v; });
}

void TERSOR_SIMD_NAME(max_window_int8)(const int8_t* x, ptrdiff_t row_stride,
                                       ptrdiff_t pixel_stride, size_t rows, size_t columns,
                                       size_t channels, int8_t* __restrict y) noexcept {
  window<64>(
      x, row_stride, pixel_stride, rows, columns, channels, int8_t{-128},
      [](int8_t a, int8_t v) { return a > v ? a : v; }, [=](size_t c, int8_t v) { y[c] = v; });
}

void TERSOR_SIMD_NAME(mean_window_float32)(const float* x, ptrdiff_t row_stride,
                                           ptrdiff_t pixel_stride, size_t rows, size_t columns,
                                           size_t channels, float divisor,
                                           float* __restrict y) noexcept {
  window<32>(
      x, row_stride, pixel_stride, rows, columns, channels, 0.0f,
      [](float a, float v) { return a + v; }, [=](size_t c, float v) { y[c] = v / divisor; });
}

void TERSOR_SIMD_NAME(sum_window_int8)(const int8_t* x, ptrdiff_t row_stride,
                                       ptrdiff_t pixel_stride, size_t rows, size_t columns,
                                       size_t channels, int32_t* __restrict sums) noexcept {
  window<32>(
      x, row_stride, pixel_stride, rows, columns, channels, int32_t{0},
      [](int32_t a, int8_t v) { return a + v; }, [=](size_t c, int32_t v) { sums[c] = v; });
}

void TERSOR_SIMD_NAME(blend_pixels_float32)(const float* const* rows, const float* weights,
                                            size_t taps, size_t channels,
                                            float* __restrict y) noexcept {
  if (taps == 4) {  // two dimensions
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    const float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
    for (size_t i = 0; i < channels; ++i) y[i] = ((wa * a[i] + wb * b[i]) + wc * c[i]) + wd * d[i];
    return;
  }
  for (size_t i = 0; i < channels; ++i) y[i] = weights[0] * rows[0][i];
  for (size_t t = 1; t < taps; ++t) {
    const float* row = rows[t];
    const float w = weights[t];
    for (size_t i = 0; i < channels; ++i) y[i] += w * row[i];
  }
}

}  // namespace tersor::runtime
