// The inner loop of float depthwise convolutions: one line of output pixels, all channels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

// For pixels i < pixels and channels c < channels:
//   sum = bias[c] + sum over rows r, then columns s, of x(r, s) * w(r, s)
//   x(r, s) = input[i * input_stride + r * row_stride + s * column_stride + c]
//   w(r, s) = weights[(r * weight_row + s) * weight_stride + c]
// and the epilogue and guarantees of ConvLineFloat32 (conv_float32.h). Bias and weights need no
// padding.
struct DepthwiseLineFloat32 {
  const float* input;
  ptrdiff_t input_stride, row_stride, column_stride;
  int64_t pixels;
  int rows, columns;
  const float* weights;
  ptrdiff_t weight_row, weight_stride;
  const float* bias;
  const float* residual;
  ptrdiff_t residual_stride;
  float* output;
  ptrdiff_t output_stride;
  int64_t channels;
  float low, high;
  float post_low, post_high;
};
using depthwise_line_float32_sig = void(const DepthwiseLineFloat32& line) noexcept;

}  // namespace tersor::runtime
