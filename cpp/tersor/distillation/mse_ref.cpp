#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

double squared_differences_ref(const float* x, const float* y, std::size_t n, float factor,
                               float* gradient) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float d = x[i] - y[i];
    sum += double{d} * d;
    if (gradient) gradient[i] = factor * d;
  }
  return sum;
}

}  // namespace tersor::distillation
