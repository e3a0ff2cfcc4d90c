// Compiled once per instruction set (cmake/instruction_sets.cmake): the floats of a
// block by vectors, then the counters one by one.
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

static constexpr size_t kBlock = 256;

void TERSOR_SIMD_NAME(count_in_bins)(const float* x, size_t n, const BinTable& table,
                                     uint64_t* counts) noexcept {
  uint32_t bits[kBlock];
  const float shift = table.shift;
  while (n > 0) {
    const size_t m = n < kBlock ? n : kBlock;
    for (size_t i = 0; i < m; ++i) {
      const float y = x[i] + shift;
      __builtin_memcpy(&bits[i], &y, sizeof y);
    }
    for (size_t i = 0; i < m; ++i) {
      const uint64_t segment = table.segments[bits[i] >> kRestBits];
      const uint32_t rest = bits[i] & ((1u << kRestBits) - 1);
      const uint32_t bin = (uint32_t)(segment >> 32) + ((rest >> 3) * (uint32_t)segment >> 16);
      counts[bin] += uint64_t{1} << 40 | rest;
    }
    x += m;
    n -= m;
  }
}

}  // namespace tersor::codebook
