#include <algorithm>
#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

double quantization_error_ref(const float* x, size_t n, float scale, float zero, float lo,
                              float hi) noexcept {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const float code = std::clamp(std::nearbyint(x[i] / scale + zero), lo, hi) - zero;
    const double error = x[i] - static_cast<double>(code * scale);
    sum += error * error;
  }
  return sum;
}

}  // namespace tersor::quantization
