#include "tersor/sparse/kernels.h"

namespace tersor::sparse {

void spmv_tile_ref(const SpmvTile& t) noexcept {
  const float* values = t.values;
  const uint16_t* index = t.index;
  for (int64_t g = 0; g < t.groups; ++g) {
    float* sums = t.sums + g * kSpmvTogether;
    for (int i = 0; i < kSpmvTogether && t.first; ++i) sums[i] = 0;
    for (int e = 0; e < t.counts[g] * kSpmvTogether; ++e)
      sums[e % kSpmvTogether] += values[e] * t.x[index[e]];
    values += t.counts[g] * kSpmvTogether;
    index += t.counts[g] * kSpmvTogether;
  }
}

}  // namespace tersor::sparse
