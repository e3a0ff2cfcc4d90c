#include <limits>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void best_splits_ref(const SplitLayer& a) noexcept {
  for (size_t i = a.first; i < a.end; ++i) {
    a.value[i] = -std::numeric_limits<double>::infinity();
    for (size_t m = a.first - 1; m < i; ++m) {
      const double s = a.sum[i] - a.sum[m];
      const double value = a.previous[m] + s * s / (a.weight[i] - a.weight[m]);
      if (value > a.value[i]) {
        a.value[i] = value;
        a.split[i] = static_cast<uint32_t>(m);
      }
    }
  }
}

}  // namespace tersor::codebook
