#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

void multiply(const SpmmInt8Tile& t) noexcept {
  const auto* values = static_cast<const int8_t*>(t.values);
  const uint16_t* index = t.index;
  for (int64_t g = 0; g < t.groups; ++g) {
    for (int r = 0; r < t.together; ++r) {
      const int64_t row = t.rows[g * t.together + r];
      if (row == t.block_rows) continue;
      for (int64_t n = 0; n < t.columns; ++n) {
        int32_t* stored = t.sums + row * t.sums_stride + n;
        auto sum = static_cast<uint32_t>(!t.first ? *stored : t.bias ? t.bias[row] : 0);
        for (int e = r; e < t.counts[g] * t.together; e += t.together) {
          const auto* x = static_cast<const uint8_t*>(t.x) + index[e] * t.step + 4 * n;
          for (int i = 0; i < 4; ++i) sum += static_cast<uint32_t>(values[4 * e + i] * x[i]);
        }
        (t.last ? t.y[row * t.y_stride + n] : *stored) = static_cast<int32_t>(sum);
      }
    }
    values += 4 * t.counts[g] * t.together;
    index += t.counts[g] * t.together;
  }
}

}  // namespace

void spmm_pairs_ref(const SpmmInt8Tile& t) noexcept { multiply(t); }
void spmm_quads_ref(const SpmmInt8Tile& t) noexcept { multiply(t); }

void spmm_pack_quads_ref(const SpmmInt8Pack& p) noexcept {
  for (int64_t k = 0; k < 4 * (p.quads + 1); ++k) {
    for (int64_t n = 0; n < p.stride; ++n) {
      const uint8_t code = k < p.rows && n < p.columns ? p.x[k * p.x_stride + n] : uint8_t{0};
      p.tile[(k / 4 * p.stride + n) * 4 + k % 4] = code ^ p.flip;
    }
  }
}

}  // namespace tersor::sparse
