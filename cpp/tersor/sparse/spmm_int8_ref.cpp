#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

int32_t input(const SpmmInt8Tile& t, bool pairs, int64_t index, int i, int64_t n) {
  if (pairs)
    return static_cast<const int16_t*>(t.x)[((2 * index + i / 2) * t.stride + n) * 2 + i % 2];
  return static_cast<const uint8_t*>(t.x)[(index * t.stride + n) * 4 + i];
}

void multiply(const SpmmInt8Tile& t, bool pairs) noexcept {
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
          for (int i = 0; i < 4; ++i)
            sum += static_cast<uint32_t>(values[4 * e + i] * input(t, pairs, index[e], i, n));
        }
        (t.last ? t.y[row * t.y_stride + n] : *stored) = static_cast<int32_t>(sum);
      }
    }
    values += 4 * t.counts[g] * t.together;
    index += t.counts[g] * t.together;
  }
}

// Code of row k, column n, where x has it.
int32_t code(const SpmmInt8Pack& p, int64_t k, int64_t n) {
  const uint8_t byte = p.x[k * p.x_stride + n];
  return p.is_signed ? static_cast<int8_t>(byte) : byte;
}

}  // namespace

void spmm_pairs_ref(const SpmmInt8Tile& t) noexcept { multiply(t, true); }
void spmm_quads_ref(const SpmmInt8Tile& t) noexcept { multiply(t, false); }

void spmm_pack_pairs_ref(const SpmmInt8Pack& p) noexcept {
  auto* tile = static_cast<int16_t*>(p.tile);
  for (int64_t k = 0; k < 4 * (p.quads + 1); ++k) {
    for (int64_t n = 0; n < p.stride; ++n) {
      const bool inside = k < p.rows && n < p.columns;
      tile[(k / 2 * p.stride + n) * 2 + k % 2] = static_cast<int16_t>(inside ? code(p, k, n) : 0);
    }
  }
}

void spmm_pack_quads_ref(const SpmmInt8Pack& p) noexcept {
  auto* tile = static_cast<uint8_t*>(p.tile);
  for (int64_t k = 0; k < 4 * (p.quads + 1); ++k) {
    for (int64_t n = 0; n < p.stride; ++n) {
      const bool inside = k < p.rows && n < p.columns;
      tile[(k / 4 * p.stride + n) * 4 + k % 4] =
          static_cast<uint8_t>(inside ? code(p, k, n) + (p.is_signed ? 128 : 0) : 0);
    }
  }
}

}  // namespace tersor::sparse
