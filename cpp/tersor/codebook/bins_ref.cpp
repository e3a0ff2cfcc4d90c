#include <bit>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void count_in_bins_ref(const float* x, size_t n, const BinTable& table, uint64_t* counts) noexcept {
  for (size_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i] + table.shift);
    const uint32_t segment = bits >> kRestBits, rest = bits & ((1u << kRestBits) - 1);
    const uint32_t bin = table.base(segment) + ((rest >> 3) * table.slots(segment) >> 16);
    counts[bin] += uint64_t{1} << 40 | rest;
  }
}

}  // namespace tersor::codebook
