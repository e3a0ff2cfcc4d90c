#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {

void add_products_ref(const float* a, size_t a_stride, const float* b, size_t b_stride, size_t rows,
                      size_t m, size_t n, double* out, size_t out_stride) noexcept {
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      float sum = 0;
      for (size_t r = 0; r < rows; ++r) sum += a[r * a_stride + i] * b[r * b_stride + j];
      out[i * out_stride + j] += static_cast<double>(sum);
    }
  }
}

}  // namespace tersor::reconstruction
