#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void nearest_vectors_ref(const float* x, size_t n, int dim, size_t padded, const float* columns,
                         const float* half_norms, uint8_t* codes) noexcept {
  for (size_t v = 0; v < n; ++v) {
    float best = 0;
    for (size_t c = 0; c < padded; ++c) {
      float score = half_norms[c];
      for (int d = 0; d < dim; ++d) {
        score -= x[v * static_cast<size_t>(dim) + static_cast<size_t>(d)] *
                 columns[static_cast<size_t>(d) * padded + c];
      }
      if (c == 0 || score < best) {
        best = score;
        codes[v] = static_cast<uint8_t>(c);
      }
    }
  }
}

}  // namespace tersor::codebook
