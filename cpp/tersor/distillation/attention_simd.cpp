// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

void TERSOR_SIMD_NAME(attention_map)(const float* __restrict x, size_t channels, size_t positions,
                                     bool channels_last, float* __restrict map) noexcept {
  if (channels_last) {
    for (size_t j = 0; j < positions; ++j, x += channels) {
      F32 even = {}, odd = {};
      size_t c = 0;
      for (; c + 2 * kLanes <= channels; c += 2 * kLanes) {
        even = fma(load(x + c), load(x + c), even);
        odd = fma(load(x + c + kLanes), load(x + c + kLanes), odd);
      }
      float sum = sum_lanes(even + odd);
      for (; c < channels; ++c) sum += x[c] * x[c];
      map[j] = sum;
    }
    return;
  }
  for (size_t j = 0; j < positions; ++j) map[j] = 0.0f;
  for (size_t c = 0; c < channels; ++c, x += positions) {
    for (size_t j = 0; j < positions; ++j) map[j] += x[j] * x[j];
  }
}

void TERSOR_SIMD_NAME(attention_gradient)(const float* x, const float* factor, size_t channels,
                                          size_t positions, bool channels_last, float* g) noexcept {
  if (channels_last) {
    for (size_t j = 0; j < positions; ++j, x += channels, g += channels) {
#pragma GCC ivdep
      for (size_t c = 0; c < channels; ++c) g[c] = x[c] * factor[j];
    }
    return;
  }
  for (size_t c = 0; c < channels; ++c, x += positions, g += positions) {
#pragma GCC ivdep
    for (size_t j = 0; j < positions; ++j) g[j] = x[j] * factor[j];
  }
}

}  // namespace tersor::distillation
