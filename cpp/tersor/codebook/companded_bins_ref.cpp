#include <cmath>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void count_companded_ref(const float* x, size_t n, const Compander& compander, uint32_t* counts,
                         uint32_t* zeros) noexcept {
  const float half = compander.half;
  for (size_t i = 0; i < n; ++i) {
    const float y = x[i] - compander.centre;
    const float t = y / (compander.reach + std::fabs(y));
    const float place = t * half + half;
    ++counts[static_cast<uint32_t>(std::isnan(place) ? 2 * half + 1 : place)];
    *zeros += x[i] == 0;
  }
}

}  // namespace tersor::codebook
