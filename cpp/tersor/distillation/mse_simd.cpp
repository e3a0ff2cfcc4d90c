// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

double TERSOR_SIMD_NAME(squared_differences)(const float* x, const float* y, size_t n, float factor,
                                             float* gradient) noexcept {
  F32 sum[4] = {};
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (size_t j = 0; j < 4; ++j) {
      const size_t at = i + j * kLanes;
      const F32 d = load(x + at) - load(y + at);
      sum[j] = fma(d, d, sum[j]);
      if (gradient) store(gradient + at, splat(factor) * d);
    }
  }
  double total = sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < n; ++i) {
    const float d = x[i] - y[i];
    total += static_cast<double>(d) * d;
    if (gradient) gradient[i] = factor * d;
  }
  return total;
}

}  // namespace tersor::distillation
