#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds half to even
static constexpr std::size_t kLanes = 32;
static constexpr std::size_t kBlock = 1024;  // floats are summed over a block, doubles over blocks

namespace {
struct Terms {
  float dx, scale, outside;
};
}  // namespace

// Without branches; selections by the value of a comparison become masks.
static inline Terms terms_of(float dy, float x, float scale, float zero, float low, float high) {
  const float t = x / scale + zero;
  const bool above = t > low, below = t < high;
  float clamped = above ? t : low;
  clamped = below ? clamped : high;
  const float r = (clamped + kRound) - kRound;
  const bool inside = above & below;
  const float ordered = t == t ? dy : 0.0f;
  return {inside ? dy : 0.0f, ordered * (r - (inside ? t : zero)), inside ? 0.0f : ordered};
}

void TERSOR_SIMD_NAME(lsq_backward)(const float* dy, const float* x, float* dx, std::size_t n,
                                    float scale, float zero, float low, float high,
                                    double* sums) noexcept {
  while (n > 0) {
    const std::size_t m = n < kBlock ? n : kBlock;
    float by_scale[kLanes] = {}, outside[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= m; i += kLanes) {
      for (std::size_t j = 0; j < kLanes; ++j) {
        const Terms t = terms_of(dy[i + j], x[i + j], scale, zero, low, high);
        dx[i + j] = t.dx;
        by_scale[j] += t.scale;
        outside[j] += t.outside;
      }
    }
    for (std::size_t j = 0; i < m; ++i, ++j) {
      const Terms t = terms_of(dy[i], x[i], scale, zero, low, high);
      dx[i] = t.dx;
      by_scale[j] += t.scale;
      outside[j] += t.outside;
    }
    for (std::size_t j = 0; j < kLanes; ++j) {
      sums[0] += static_cast<double>(by_scale[j]);
      sums[1] += static_cast<double>(outside[j]);
    }
    dy += m;
    x += m;
    dx += m;
    n -= m;
  }
}

void TERSOR_SIMD_NAME(lsq_backward_columns)(
    const float* dy, const float* x, float* dx, std::size_t rows, std::size_t columns,
    const float* __restrict scale, const float* __restrict zero, const float* __restrict low,
    const float* __restrict high, float* __restrict sums) noexcept {
  for (std::size_t r = 0; r < rows; ++r, dy += columns, x += columns, dx += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const Terms t = terms_of(dy[c], x[c], scale[c], zero[c], low[c], high[c]);
      dx[c] = t.dx;
      sums[c] += t.scale;
      sums[columns + c] += t.outside;
    }
  }
}

}  // namespace tersor::quantization
