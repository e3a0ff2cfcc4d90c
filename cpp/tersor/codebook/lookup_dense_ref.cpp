#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void arrange_lookup_ref(const float* x, int64_t n, float* arranged) noexcept {
  for (int64_t i = 0; i < n; ++i) arranged[i] = x[i];
}

void lookup_dense_ref(const LookupBlocks& a) noexcept {
  for (int64_t o = a.first; o < a.end; ++o) {
    const float* const table = a.tables + o / a.group * kLookupEntries;
    const uint8_t* const codes = a.codes + o * a.depth / 2;
    float sum = 0;
    for (int64_t i = 0; i < a.depth; ++i) {
      const uint8_t byte = codes[i / 64 * 32 + i % 32];
      sum += a.x[i] * table[i % 64 < 32 ? byte & 15 : byte >> 4];
    }
    sum += a.bias ? a.bias[o] : 0;
    sum = sum < a.low ? a.low : sum;
    a.y[o] = sum > a.high ? a.high : sum;
  }
}

}  // namespace tersor::codebook
