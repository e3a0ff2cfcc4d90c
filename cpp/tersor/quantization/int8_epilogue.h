// What an int8 convolution does with its int32 accumulators in `fast` arithmetic.
//
//   v = float(acc) * multiplier[c],   a = clamp(rint(v + copysign(rounding_offset[c], v)) +
//   zero_point, low, high)
// (why: requantize.h) and, with a residual b (same shape as the result),
//   y = clamp(rint(scale_a * float(a - zero_point) + scale_b * float(b - residual_zero_point))
//             + add_zero_point, add_low, add_high)
// in float32 with round half to even and no contraction: every variant gives the same codes.
// acc includes the bias. All of low, high, zero points lie in [-128, 127].
#pragma once

#include <cstdint>

namespace tersor::quantization {

struct Int8Epilogue {
  const int32_t* bias = nullptr;           // [channels rounded up to 16], 0 beyond
  const float* multiplier = nullptr;       // [channels rounded up to 16], 0 beyond
  const float* rounding_offset = nullptr;  // likewise; not negative
  int32_t zero_point = 0;
  int32_t low = -128;
  int32_t high = 127;
  float scale_a = 0;
  float scale_b = 0;
  int32_t residual_zero_point = 0;
  int32_t add_zero_point = 0;
  int32_t add_low = -128;
  int32_t add_high = 127;
};

}  // namespace tersor::quantization
