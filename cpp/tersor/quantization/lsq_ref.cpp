#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

struct Terms {
  float dx, scale, outside;
};

Terms terms_of(float dy, float x, float scale, float zero, float low, float high) {
  const float t = x / scale + zero;
  if (low < t && t < high) return {dy, dy * (std::nearbyintf(t) - t), 0};
  if (std::isnan(t)) return {0, 0, 0};
  return {0, dy * ((t <= low ? low : high) - zero), dy};
}

}  // namespace

void lsq_backward_ref(const float* dy, const float* x, float* dx, std::size_t n, float scale,
                      float zero, float low, float high, double* sums) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const Terms t = terms_of(dy[i], x[i], scale, zero, low, high);
    dx[i] = t.dx;
    sums[0] += static_cast<double>(t.scale);
    sums[1] += static_cast<double>(t.outside);
  }
}

void lsq_backward_columns_ref(const float* dy, const float* x, float* dx, std::size_t rows,
                              std::size_t columns, const float* scale, const float* zero,
                              const float* low, const float* high, float* sums) noexcept {
  for (std::size_t i = 0; i < rows * columns; ++i) {
    const std::size_t c = i % columns;
    const Terms t = terms_of(dy[i], x[i], scale[c], zero[c], low[c], high[c]);
    dx[i] = t.dx;
    sums[c] += t.scale;
    sums[columns + c] += t.outside;
  }
}

}  // namespace tersor::quantization
