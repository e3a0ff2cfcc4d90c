#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void min_max_ref(const float* x, size_t n, float* lo, float* hi, int32_t* nan) noexcept {
  *lo = INFINITY;
  *hi = -INFINITY;
  *nan = 0;
  for (size_t i = 0; i < n; ++i) {
    if (x[i] < *lo) *lo = x[i];
    if (x[i] > *hi) *hi = x[i];
    if (x[i] != x[i]) *nan = 1;
  }
}

void min_max_columns_ref(const float* x, size_t rows, size_t columns, float* lo, float* hi,
                         int32_t* nan) noexcept {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const float v = x[r * columns + c];
      if (v < lo[c]) lo[c] = v;
      if (v > hi[c]) hi[c] = v;
      if (v != v) *nan = 1;
    }
  }
}

}  // namespace tersor::quantization
