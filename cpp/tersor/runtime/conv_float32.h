// The inner loop of float convolutions and matrix products: a line of output pixels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

// Output channels of one panel of packed weights; a panel is [depth of all taps][kPanel],
// zero-padded.
inline constexpr int kPanel = 16;

// For pixels i < pixels and channels c < channels, p = c / kPanel, e = c % kPanel:
//   sum = bias[c] + sum over taps t, then k < depth, in this order, of x(t, k) * w(t, k)
//   x(t, k) = input[tap_input[t] + i * input_stride + k]
//   w(t, k) = weights[p * panel_stride + tap_weight[t] + k * kPanel + e]
//   y = clamp(sum, low, high); with a residual
//   y = clamp(y + residual[i * residual_stride + c], post_low, post_high)
//   output[i * output_stride + c] = y
// Offsets and strides are in floats; bias has whole panels (nullptr: 0). clamp keeps NaN. Multiply
// and add may round once or twice: |error| <= (taps * depth + 2) * eps * sum |x * w|. An element's
// value does not depend on which other pixels and channels are computed with it, so any division
// among threads is exact. output may equal residual; it overlaps no other operand.
struct ConvLineFloat32 {
  const float* input;
  ptrdiff_t input_stride;
  int64_t pixels;
  const int64_t* tap_input;
  const int64_t* tap_weight;
  int taps;
  int64_t depth;
  const float* weights;
  ptrdiff_t panel_stride;
  const float* bias;
  const float* residual;
  ptrdiff_t residual_stride;
  float* output;
  ptrdiff_t output_stride;
  int64_t channels;
  float low, high;
  float post_low, post_high;
};
using conv_line_float32_sig = void(const ConvLineFloat32& line) noexcept;

}  // namespace tersor::runtime
