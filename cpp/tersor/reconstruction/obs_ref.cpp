#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {

void subtract_outer_ref(double* a, std::size_t stride, const double* scaled, const double* v,
                        std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) a[i * stride + j] -= scaled[i] * v[j];
  }
}

}  // namespace tersor::reconstruction
