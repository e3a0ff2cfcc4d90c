#include <stddef.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

static constexpr size_t kLanes = 32;
static constexpr size_t kBlock = 1024;  // floats are summed over a block, doubles over blocks

// Adding and taking off 1.5 * 2^23 rounds |v| < 2^22 to nearest even: the clamp comes first, and
// the codes' limits are integers, so the order of clamping and rounding does not matter.
static constexpr float kRound = 12582912.0f;

// Contracted where the CPU can (the sum may have any rounding): two of nine operations less.
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// sum + squared error. The product with 1 / scale may pick the other code on a near-tie, where both
// err equally: unlike in quantize_affine no division is needed.
static inline float added(float sum, float x, float scale, float inverse, float lo, float hi) {
  float code = x * inverse;
  code = code < lo ? lo : code;
  code = code > hi ? hi : code;
  const float error = multiply_add((code + kRound) - kRound, -scale, x);
  return multiply_add(error, error, sum);
}

static inline float added(float sum, float x, float scale, float inverse, float zero, float lo,
                          float hi) {
  float code = x * inverse + zero;
  code = code < lo ? lo : code;
  code = code > hi ? hi : code;
  const float error = multiply_add(((code + kRound) - kRound) - zero, -scale, x);
  return multiply_add(error, error, sum);
}

// add(sum, x[i]) over all elements, in floats over blocks.
template <class Add>
static inline double summed(const float* x, size_t n, const Add& add) {
  double total = 0;
  while (n > 0) {
    const size_t m = n < kBlock ? n : kBlock;
    float sum[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= m; i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) sum[j] = add(sum[j], x[i + j]);
    }
    for (size_t j = 0; i < m; ++i, ++j) sum[j] = add(sum[j], x[i]);
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
    return summed(x, n, [=](float s, float v) { return added(s, v, scale, inverse, lo, hi); });
  }
  return summed(x, n, [=](float s, float v) { return added(s, v, scale, inverse, zero, lo, hi); });
}

}  // namespace tersor::quantization
