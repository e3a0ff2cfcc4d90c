#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

}  // namespace

void spmm_tile_ref(const SpmmTile& t) noexcept {
  const float* values = t.values;
  const uint16_t* index = t.index;
  for (int64_t g = 0; g < t.groups; ++g) {
    for (int i = 0; i < t.together; ++i) {
      const int64_t row = t.rows[g * t.together + i];
      if (row == t.block_rows) continue;
      for (int64_t n = 0; n < t.columns; ++n) {
        float* stored = t.sums + row * t.sums_stride + n;
        float sum = !t.first ? *stored : t.bias ? t.bias[row] : 0.0f;
        for (int e = i; e < t.counts[g] * t.together; e += t.together)
          sum += values[e] * t.x[index[e] * t.x_stride + n];
        if (!t.last) {
          *stored = sum;
          continue;
        }
        float y = clamp(sum, t.low, t.high);
        if (t.residual)
          y = clamp(y + t.residual[row * t.residual_stride + n], t.post_low, t.post_high);
        t.y[row * t.y_stride + n] = y;
      }
    }
    values += t.counts[g] * t.together;
    index += t.counts[g] * t.together;
  }
}

void spmm_pack_ref(const SpmmPack& p) noexcept {
  for (int64_t k = 0; k <= p.depth; ++k) {
    for (int64_t n = 0; n < p.tile_stride; ++n) {
      const bool inside = k < p.depth && n < p.columns;
      p.tile[k * p.tile_stride + n] = inside ? p.x[k * p.x_stride + n] : 0.0f;
    }
  }
}

}  // namespace tersor::sparse
