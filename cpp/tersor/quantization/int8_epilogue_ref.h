// The epilogue of one accumulator, for the reference kernels.
#pragma once

#include <cmath>

#include "tersor/quantization/conv_int8_kernels.h"

namespace tersor::quantization {

inline int8_t round_code_ref(float v, int32_t zero_point, int32_t low, int32_t high) {
  const float bounded = std::fmin(std::fmax(v, static_cast<float>(low - zero_point)),
                                  static_cast<float>(high - zero_point));
  return static_cast<int8_t>(static_cast<int32_t>(std::nearbyintf(bounded)) + zero_point);
}

// Channel `channel` of the pixel that starts at `pixel`.
inline void finish_ref(const Int8Epilogue& e, const Int8Output& out, int64_t pixel, int64_t channel,
                       int32_t acc) {
  const int64_t at = pixel + channel;
  if (out.accumulators) {
    out.accumulators[at] = acc;
    return;
  }
  const float v = static_cast<float>(acc) * e.multiplier[channel];
  int8_t code =
      round_code_ref(v + std::copysign(e.rounding_offset[channel], v), e.zero_point, e.low, e.high);
  if (out.residual) {
    const float a = e.scale_a * static_cast<float>(code - e.zero_point);
    const float b = e.scale_b * static_cast<float>(out.residual[at] - e.residual_zero_point);
    code = round_code_ref(a + b, e.add_zero_point, e.add_low, e.add_high);
  }
  out.y[at] = code;
}

}  // namespace tersor::quantization
