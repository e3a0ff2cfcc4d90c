// Pooling windows on channels-last data: one output pixel, all channels.
//
// The window has rows x columns input pixels, `row_stride` and `pixel_stride` elements apart, all
// inside the image.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

// y[c] = the largest value of channel c in the window; float32: NaN wins. An empty window gives
// -infinity, -128.
using max_window_float32_sig = void(const float* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                                    size_t rows, size_t columns, size_t channels,
                                    float* y) noexcept;
using max_window_int8_sig = void(const int8_t* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                                 size_t rows, size_t columns, size_t channels, int8_t* y) noexcept;

// y[c] = sum over the window / divisor, summed row by row.
using mean_window_float32_sig = void(const float* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                                     size_t rows, size_t columns, size_t channels, float divisor,
                                     float* y) noexcept;
// sums[c] = sum of codes over the window, int32.
using sum_window_int8_sig = void(const int8_t* x, ptrdiff_t row_stride, ptrdiff_t pixel_stride,
                                 size_t rows, size_t columns, size_t channels,
                                 int32_t* sums) noexcept;

// y[c] = sum_t weights[t] * rows[t][c] in order of t: one output pixel of an interpolation.
using blend_pixels_float32_sig = void(const float* const* rows, const float* weights, size_t taps,
                                      size_t channels, float* y) noexcept;

}  // namespace tersor::runtime
