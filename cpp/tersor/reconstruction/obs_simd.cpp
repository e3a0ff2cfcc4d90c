// Compiled once per instruction set (cmake/instruction_sets.cmake).
#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {

void TERSOR_SIMD_NAME(subtract_outer)(double* a, std::size_t stride, const double* scaled,
                                      const double* v, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    double* __restrict row = a + i * stride;
    const double s = scaled[i];
    for (std::size_t j = 0; j <= i; ++j) row[j] -= s * v[j];
  }
}

}  // namespace tersor::reconstruction
