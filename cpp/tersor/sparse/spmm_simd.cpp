// Compiled once per instruction set: TERSOR_SIMD_NAME(op) is the name, vector_float32.h the
// vectors.
//
// An entry costs one broadcast of its value and one FMA with a memory operand per vector of
// columns. Two vector loads a cycle are the bound of every x86 core with two FMA pipes, so with 8
// vectors the broadcast takes 1/9 of it: 89 % of the dense peak on the entries that are kept.
#include "tersor/base/vector_float32.h"
#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

// Sums in registers: together x vectors. Beside them one broadcast.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMostSums = 16;
#else
constexpr int kMostSums = 13;
#endif

template <int Together, int Vectors>
inline void finish(const SpmmTile& t, const Vec (&sum)[Together][Vectors], const uint16_t* rows,
                   int64_t column) noexcept {
  const Vec low = broadcast(t.low), high = broadcast(t.high);
  const Vec post_low = broadcast(t.post_low), post_high = broadcast(t.post_high);
  const bool whole = column + Vectors * kLanes <= t.columns;
#pragma GCC unroll 8
  for (int i = 0; i < Together; ++i) {
    const int64_t row = rows[i];
    if (Together > 1 && row == t.block_rows) continue;
    float* y = t.y + row * t.y_stride + column;
    const float* residual = t.residual ? t.residual + row * t.residual_stride + column : nullptr;
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      Vec out = clamp(sum[i][v], low, high);
      if (whole) {
        if (residual) out = clamp(out + load(residual + v * kLanes), post_low, post_high);
        store(y + v * kLanes, out);
        continue;
      }
      const int64_t left = t.columns - column - v * kLanes;
      if (left <= 0) break;
      const int n = left < kLanes ? static_cast<int>(left) : kLanes;
      if (residual) out = clamp(out + load_some(residual + v * kLanes, n), post_low, post_high);
      store_some(y + v * kLanes, out, n);
    }
  }
}

template <int Together, int Vectors>
void strip(const SpmmTile& t, int64_t column) noexcept {
  const float* const x = t.x + column;
  const ptrdiff_t stride = t.x_stride;
  const float* values = t.values;
  const uint16_t* index = t.index;
  const uint16_t* rows = t.rows;
  for (int64_t g = 0; g < t.groups; ++g, rows += Together) {
    Vec sum[Together][Vectors];
    if (t.first) {
#pragma GCC unroll 8
      for (int i = 0; i < Together; ++i) {
        const bool none = !t.bias || (Together > 1 && rows[i] == t.block_rows);
        const Vec b = none ? broadcast(0) : broadcast(t.bias[rows[i]]);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[i][v] = b;
      }
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < Together; ++i) {
        const float* from = t.sums + rows[i] * t.sums_stride + column;
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[i][v] = load(from + v * kLanes);
      }
    }
    for (const float* const end = values + t.counts[g] * Together; values != end;
         values += Together, index += Together) {
#pragma GCC unroll 8
      for (int i = 0; i < Together; ++i) {
        const float* from = x + index[i] * stride;
        const Vec a = broadcast(values[i]);
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) sum[i][v] = fma(a, load(from + v * kLanes), sum[i][v]);
      }
    }
    if (t.last) {
      finish<Together, Vectors>(t, sum, rows, column);
      continue;
    }
#pragma GCC unroll 8
    for (int i = 0; i < Together; ++i) {
      float* to = t.sums + rows[i] * t.sums_stride + column;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) store(to + v * kLanes, sum[i][v]);
    }
  }
}

// The strip of `vectors` vectors, found among 1 .. Vectors.
template <int Together, int Vectors>
void strip_of(const SpmmTile& t, int64_t column, int64_t vectors) noexcept {
  if constexpr (Vectors == 1) {
    strip<Together, 1>(t, column);
  } else {
    if (vectors == Vectors) return strip<Together, Vectors>(t, column);
    strip_of<Together, Vectors - 1>(t, column, vectors);
  }
}

// Columns in as few strips as the registers allow, of nearly equal width.
template <int Together>
void strips(const SpmmTile& t) noexcept {
  constexpr int64_t kMost = kMostSums / Together;
  const int64_t vectors = (t.columns + kLanes - 1) / kLanes;
  const int64_t count = (vectors + kMost - 1) / kMost;
  for (int64_t i = 0, at = 0; i < count; ++i) {
    const int64_t wide = (vectors - at + count - i - 1) / (count - i);
    strip_of<Together, kMost>(t, at * kLanes, wide);
    at += wide;
  }
}

}  // namespace

void TERSOR_SIMD_NAME(spmm_tile)(const SpmmTile& t) noexcept {
  switch (t.together) {
    case 1:
      return strips<1>(t);
    case 2:
      return strips<2>(t);
    case 4:
      return strips<4>(t);
    default:
      return strips<8>(t);
  }
}

void TERSOR_SIMD_NAME(spmm_pack)(const SpmmPack& p) noexcept {
  const int64_t whole = p.columns / kLanes * kLanes;
  const int rest = static_cast<int>(p.columns - whole);
  const Vec zero = broadcast(0);
  for (int64_t k = 0; k < p.depth; ++k) {
    const float* from = p.x + k * p.x_stride;
    float* to = p.tile + k * p.tile_stride;
    int64_t n = 0;
    for (; n < whole; n += kLanes) store(to + n, load(from + n));
    if (rest) store(to + n, load_first(from + n, rest)), n += kLanes;
    for (; n < p.tile_stride; n += kLanes) store(to + n, zero);
  }
  for (int64_t n = 0; n < p.tile_stride; n += kLanes)
    store(p.tile + p.depth * p.tile_stride + n, zero);
}

}  // namespace tersor::sparse
