#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void assign_nearest_ref(const float* x, size_t n, const AssignTable& table, uint8_t* codes,
                        double* error) noexcept {
  *error = 0;
  for (size_t i = 0; i < n; ++i) {
    int code = 0;
    for (int j = 0; j < table.count; ++j) code += x[i] > table.thresholds[j];
    if (table.zero >= 0 && code >= table.zero) ++code;
    if (table.zero >= 0 && x[i] == 0) code = table.zero;
    codes[i] = static_cast<uint8_t>(code);
    const double d = static_cast<double>(x[i]) - static_cast<double>(table.centroids[code]);
    *error += d * d;
  }
}

}  // namespace tersor::codebook
