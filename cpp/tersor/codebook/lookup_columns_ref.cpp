#include <cmath>
#include <cstdint>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

void lookup_products_ref(const float* table, const float* x, int64_t n,
                         uint8_t* products) noexcept {
  for (int64_t i = 0; i < n; ++i, products += kProductBytes) {
    for (int64_t c = 0; c < kLookupEntries; ++c) {
      const auto v = static_cast<int32_t>(std::rint(x[i] * table[c]));
      const int32_t most = (1 << kProductBits) - 1;
      const auto shifted = static_cast<uint32_t>((v < most ? v : most) + most + 1);
      for (int64_t d = 0; d < 4; ++d)
        products[d * kLookupEntries + c] = static_cast<uint8_t>(shifted >> (7 * d) & 127);
    }
  }
}

void lookup_columns_ref(const LookupTiles& a) noexcept {
  for (int64_t b = a.first; b < a.end; ++b) {
    for (int64_t o = 0; o < kColumnOutputs; ++o) {
      float sum = 0;
      for (int64_t start = 0; start < a.inputs; start += kTileInputs) {
        const int64_t n = a.inputs - start < kTileInputs ? a.inputs - start : kTileInputs;
        const uint8_t* codes = a.codes + kColumnOutputs * (start / 2 * a.blocks + b * n / 2);
        int32_t digits[4] = {0};
        for (int64_t i = 0; i < n; ++i) {
          const uint8_t byte = codes[i / 2 * kColumnOutputs + column_byte(o)];
          const uint8_t* const product = a.products + (start + i) * kProductBytes;
          for (int64_t d = 0; d < 4; ++d)
            digits[d] += product[d * kLookupEntries + (i % 2 ? byte >> 4 : byte & 15)];
        }
        const int32_t low = digits[0] + 128 * digits[1];
        const int32_t high = digits[2] + 128 * (digits[3] - 64 * static_cast<int32_t>(n));
        const float whole = static_cast<float>(high) * 16384.0f + static_cast<float>(low);
        sum += whole * a.units[start / kTileInputs];
      }
      a.sums[b * kColumnOutputs + o] = sum;
    }
  }
}

}  // namespace tersor::codebook
