#include <stddef.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

static constexpr size_t kLanes = 32;
static constexpr size_t kBlock = 1024;  // floats are summed over a block, doubles over blocks

// Adding and taking off 1.5 * 2^23 rounds |v| < 2^22 to nearest even: the clamp comes first, and
// the codes' limits are integers, so the order of clamping and rounding does not matter.
static constexpr float kRound = 12582912.0f;

// The product with 1 / scale may pick the other code on a near-tie, where both err equally: unlike
// in quantize_affine no division is needed.
static inline float squared_error(float x, float scale, float inverse, float lo, float hi) {
  float code = x * inverse;
  code = code < lo ? lo : code;
  code = code > hi ? hi : code;
  const float error = x - ((code + kRound) - kRound) * scale;
  return error * error;
}

static inline float squared_error(float x, float scale, float inverse, float zero, float lo,
                                  float hi) {
  float code = x * inverse + zero;
  code = code < lo ? lo : code;
  code = code > hi ? hi : code;
  const float error = x - (((code + kRound) - kRound) - zero) * scale;
  return error * error;
}

// Sums error(x[i]), in floats over blocks.
template <class Error>
static inline double summed(const float* x, size_t n, const Error& error) {
  double total = 0;
  while (n > 0) {
    const size_t m = n < kBlock ? n : kBlock;
    float sum[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= m; i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) sum[j] += error(x[i + j]);
    }
    for (size_t j = 0; i < m; ++i, ++j) sum[j] += error(x[i]);
    for (size_t j = 0; j < kLanes; ++j) total += static_cast<double>(sum[j]);
    x += m;
    n -= m;
  }
  return total;
}

double TERSOR_SIMD_NAME(quantization_error)(const float* x, size_t n, float scale, float zero,
                                            float lo, float hi) noexcept {
  const float inverse = 1.0f / scale;
  if (zero == 0) {
    return summed(x, n, [=](float v) { return squared_error(v, scale, inverse, lo, hi); });
  }
  return summed(x, n, [=](float v) { return squared_error(v, scale, inverse, zero, lo, hi); });
}

}  // namespace tersor::quantization
