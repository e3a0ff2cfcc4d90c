#include <limits>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

template <class Sum, class T, class Accumulate>
Sum accumulate_window(const T* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride, size_t rows,
                      size_t columns, Sum sum, Accumulate accumulate) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c)
      sum = accumulate(
          sum,
          x[static_cast<ptrdiff_t>(r) * row_stride + static_cast<ptrdiff_t>(c) * pixel_stride]);
  }
  return sum;
}

}  // namespace

void max_window_float32_ref(const float* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                            size_t rows, size_t columns, size_t channels, float* y) noexcept {
  for (size_t c = 0; c < channels; ++c) {
    y[c] = accumulate_window(x + c, row_stride, pixel_stride, rows, columns,
                             -std::numeric_limits<float>::infinity(),
                             [](float a, float v) { return a != a || a > v ? a : v; });
  }
}

void max_window_int8_ref(const int8_t* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride, size_t rows,
                         size_t columns, size_t channels, int8_t* y) noexcept {
  for (size_t c = 0; c < channels; ++c) {
    y[c] = accumulate_window(x + c, row_stride, pixel_stride, rows, columns, int8_t{-128},
                             [](int8_t a, int8_t v) { return a > v ? a : v; });
  }
}

void mean_window_float32_ref(const float* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                             size_t rows, size_t columns, size_t channels, float divisor,
                             float* y) noexcept {
  for (size_t c = 0; c < channels; ++c) {
    y[c] = accumulate_window(x + c, row_stride, pixel_stride, rows, columns, 0.0f,
                             [](float a, float v) { return a + v; }) /
           divisor;
  }
}

void sum_window_int8_ref(const int8_t* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride, size_t rows,
                         size_t columns, size_t channels, int32_t* sums) noexcept {
  for (size_t c = 0; c < channels; ++c) {
    sums[c] = accumulate_window(x + c, row_stride, pixel_stride, rows, columns, 0,
                                [](int32_t a, int8_t v) { return a + v; });
  }
}

void blend_pixels_float32_ref(const float* const* rows, const float* weights, size_t taps,
                              size_t channels, float* y) noexcept {
  for (size_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (size_t t = 0; t < taps; ++t) sum += weights[t] * rows[t][c];
    y[c] = sum;
  }
}

}  // namespace tersor::runtime
