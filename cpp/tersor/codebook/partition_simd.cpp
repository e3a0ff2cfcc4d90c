// Compiled once per instruction set (cmake/instruction_sets.cmake). Divide and conquer over rows;
// few rows at the end share one scan, a lane each.
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

#if defined(__AVX512F__)
#define TERSOR_DOUBLE_LANES 8
#elif defined(__AVX2__)
#define TERSOR_DOUBLE_LANES 4
#else
#define TERSOR_DOUBLE_LANES 2
#endif

namespace tersor::codebook {
namespace {

constexpr size_t kLanes = TERSOR_DOUBLE_LANES;
// Rows that are left to one scan: eight divide the levels of the recursion by three.
constexpr size_t kTogether = 8;
static_assert(kTogether <= kSplitPadding);

typedef double F64 __attribute__((vector_size(8 * TERSOR_DOUBLE_LANES)));
typedef int64_t I64 __attribute__((vector_size(8 * TERSOR_DOUBLE_LANES)));

#define TERSOR_INLINE static inline __attribute__((always_inline))

TERSOR_INLINE F64 load(const double* p) {
  F64 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
TERSOR_INLINE F64 splat(double x) { return x - (F64){}; }

constexpr double kNone = -__builtin_inf();

// The best m in [low, high) of row i, the lowest of equal ones; value[i] is written.
static size_t scan(const SplitLayer& a, size_t i, size_t low, size_t high) noexcept {
  const F64 wi = splat(a.weight[i]), si = splat(a.sum[i]);
  double best = kNone;
  size_t at = low, m = low;
  if (high - low >= 2 * kLanes) {
    F64 values = splat(kNone);
    I64 places = (I64){} + (int64_t)low, index = places;
    for (size_t lane = 0; lane < kLanes; ++lane) index[lane] += (int64_t)lane;
    for (; m + kLanes <= high; m += kLanes, index += (int64_t)kLanes) {
      const F64 s = si - load(a.sum + m);
      const F64 value = load(a.previous + m) + s * s / (wi - load(a.weight + m));
      const I64 better = value > values;
      values = better ? value : values;
      places = better ? index : places;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const bool better =
          values[lane] > best || (values[lane] == best && (size_t)places[lane] < at);
      best = better ? values[lane] : best;
      at = better ? (size_t)places[lane] : at;
    }
  }
  for (; m < high; ++m) {
    const double s = a.sum[i] - a.sum[m];
    const double value = a.previous[m] + s * s / (a.weight[i] - a.weight[m]);
    at = value > best ? m : at;
    best = value > best ? value : best;
  }
  a.value[i] = best;
  return at;
}

// Rows [first, end), at most kTogether of them; m in [low, high].
static void scan_together(const SplitLayer& a, size_t first, size_t end, size_t low,
                          size_t high) noexcept {
  constexpr size_t kVectors = kTogether / kLanes;
  F64 wi[kVectors], si[kVectors], best[kVectors];
  I64 at[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    wi[v] = load(a.weight + first + v * kLanes);
    si[v] = load(a.sum + first + v * kLanes);
    best[v] = splat(kNone);
    at[v] = (I64){} + (int64_t)low;
  }
  if (high + 2 > end) high = end - 2;  // m < the last row
  for (size_t m = low; m <= high; ++m) {
    const F64 wm = splat(a.weight[m]), sm = splat(a.sum[m]), previous = splat(a.previous[m]);
    for (size_t v = 0; v < kVectors; ++v) {
      const F64 s = si[v] - sm, w = wi[v] - wm;
      const F64 value = previous + s * s / w;
      const I64 better = (value > best[v]) & (w > 0.0);  // w > 0: m stands before the row
      best[v] = better ? value : best[v];
      at[v] = better ? (I64){} + (int64_t)m : at[v];
    }
  }
  for (size_t i = first; i < end; ++i) {
    a.value[i] = best[(i - first) / kLanes][(i - first) % kLanes];
    a.split[i] = (uint32_t)at[(i - first) / kLanes][(i - first) % kLanes];
  }
}

static void solve(const SplitLayer& a, size_t first, size_t end, size_t low, size_t high) noexcept {
  while (first < end) {
    const size_t middle = first + (end - first) / 2;
    const size_t row = end - first <= kTogether ? first : middle;
    size_t from = low;
    if (a.lowest && a.lowest[row] > from) from = a.lowest[row];
    if (from > row - 1) from = row - 1;
    if (row == first) {
      scan_together(a, first, end, from, high);
      return;
    }
    size_t to = high + 1 < row ? high + 1 : row;
    if (to <= from) to = from + 1;  // rounding may break monotony by a hair
    const size_t best = scan(a, row, from, to);
    a.split[row] = (uint32_t)best;
    solve(a, first, middle, low, best);
    first = middle + 1;
    low = best;
  }
}

}  // namespace

void TERSOR_SIMD_NAME(best_splits)(const SplitLayer& a) noexcept {
  if (a.first < a.end) solve(a, a.first, a.end, a.first - 1, a.end - 1);
}

}  // namespace tersor::codebook
