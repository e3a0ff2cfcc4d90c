#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void histogram_ref(const float* x, size_t n, float inverse_width, int32_t first, uint32_t bins,
                   uint64_t* counts) noexcept {
  (void)bins;
  for (size_t i = 0; i < n; ++i) {
    // In double: the product of a tiny negative value would vanish in float, and with it its sign.
    const double v = static_cast<double>(x[i]) * static_cast<double>(inverse_width);
    counts[static_cast<int32_t>(std::floor(v)) - first] += 1;
  }
}

}  // namespace tersor::quantization
