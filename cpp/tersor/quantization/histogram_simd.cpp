#include <stddef.h>
#include <stdint.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

// Four tables take turns, because equal neighbours (zeros after ReLU) would otherwise wait for each
// other's store: 16-bit counters keep all four (16 KiB) in L1 and are emptied before they overflow.
static constexpr size_t kTables = 4;
static constexpr size_t kBlock = 512;
static constexpr size_t kBlocksPerFlush = 500;  // 500 * 512 / 4 = 64,000 < 65,536

void TERSOR_SIMD_NAME(histogram)(const float* x, size_t n, float inverse_width, int32_t first,
                                 uint32_t bins, uint64_t* counts) noexcept {
  uint16_t tables[kTables][kBins];
  int32_t index[kBlock];
  while (n > 0) {
    for (size_t t = 0; t < kTables; ++t) __builtin_memset(tables[t], 0, bins * sizeof(uint16_t));
    for (size_t block = 0; block < kBlocksPerFlush && n > 0; ++block) {
      const size_t m = n < kBlock ? n : kBlock;
      for (size_t i = 0; i < m; ++i) {
        const float v = x[i] * inverse_width;
        const int32_t towards_zero = static_cast<int32_t>(v);
        // The product of a tiny negative value may vanish; its bin is still the one below 0.
        const int32_t below = (static_cast<float>(towards_zero) > v) | ((v == 0) & (x[i] < 0));
        index[i] = towards_zero - below - first;
      }
      size_t i = 0;
      for (; i + kTables <= m; i += kTables) {
        ++tables[0][index[i]];
        ++tables[1][index[i + 1]];
        ++tables[2][index[i + 2]];
        ++tables[3][index[i + 3]];
      }
      for (; i < m; ++i) ++tables[0][index[i]];
      x += m;
      n -= m;
    }
    for (size_t b = 0; b < bins; ++b) {
      uint64_t sum = 0;
      for (size_t t = 0; t < kTables; ++t) sum += tables[t][b];
      counts[b] += sum;
    }
  }
}

}  // namespace tersor::quantization
