// Compiled once per instruction set (cmake/instruction_sets.cmake): a lane per centroid, four
// vectors of weights at a time.
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"
#include "tersor/codebook/vector_lanes.h"

namespace tersor::codebook {
namespace {

constexpr size_t kTogether = 4;

template <int kDim>
void nearest(const float* x, size_t n, size_t padded, const float* columns, const float* norms,
             uint8_t* codes) noexcept {
  I32 lane = {};
  for (size_t i = 0; i < kLanes; ++i) lane[i] = (int32_t)i;
  for (size_t v = 0; v < n; v += kTogether) {
    const size_t count = n - v < kTogether ? n - v : kTogether;
    F32 best[kTogether];
    I32 at[kTogether];
    for (size_t u = 0; u < kTogether; ++u) {
      best[u] = __builtin_inff() - (F32){};
      at[u] = lane;
    }
    I32 index = lane;
    for (size_t c = 0; c < padded; c += kLanes, index += (int32_t)kLanes) {
      F32 norm, column[kDim];
      __builtin_memcpy(&norm, norms + c, sizeof norm);
      for (int d = 0; d < kDim; ++d) {
        __builtin_memcpy(&column[d], columns + (size_t)d * padded + c, sizeof norm);
      }
      for (size_t u = 0; u < kTogether; ++u) {
        const float* const own = x + (v + (u < count ? u : 0)) * kDim;
        F32 score = norm;
        for (int d = 0; d < kDim; ++d) score -= own[d] * column[d];
        const I32 better = score < best[u];
        best[u] = better ? score : best[u];
        at[u] = better ? index : at[u];
      }
    }
    for (size_t u = 0; u < count; ++u) {
      float least = best[u][0];
      int32_t place = at[u][0];
      for (size_t i = 1; i < kLanes; ++i) {
        const bool better = best[u][i] < least || (best[u][i] == least && at[u][i] < place);
        least = better ? best[u][i] : least;
        place = better ? at[u][i] : place;
      }
      codes[v + u] = (uint8_t)place;
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(nearest_vectors)(const float* x, size_t n, int dim, size_t padded,
                                       const float* columns, const float* half_norms,
                                       uint8_t* codes) noexcept {
  if (dim == 2) nearest<2>(x, n, padded, columns, half_norms, codes);
  if (dim == 4) nearest<4>(x, n, padded, columns, half_norms, codes);
  if (dim == 8) nearest<8>(x, n, padded, columns, half_norms, codes);
}

}  // namespace tersor::codebook
