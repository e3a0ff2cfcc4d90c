#include <stddef.h>
#include <stdint.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

// 64 lanes: four 512-bit or eight 256-bit accumulators hide the latency of the comparisons.
static constexpr size_t kLanes = 64;

void TERSOR_SIMD_NAME(min_max)(const float* x, size_t n, float* lo, float* hi,
                               int32_t* nan) noexcept {
  float low[kLanes], high[kLanes];
  int32_t bad[kLanes];
  for (size_t j = 0; j < kLanes; ++j) {
    low[j] = __builtin_inff();
    high[j] = -__builtin_inff();
    bad[j] = 0;
  }
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float v = x[i + j];
      low[j] = v < low[j] ? v : low[j];
      high[j] = v > high[j] ? v : high[j];
      bad[j] |= v != v;
    }
  }
  for (size_t j = 0; i < n; ++i, ++j) {
    low[j] = x[i] < low[j] ? x[i] : low[j];
    high[j] = x[i] > high[j] ? x[i] : high[j];
    bad[j] |= x[i] != x[i];
  }
  for (size_t j = 1; j < kLanes; ++j) {
    low[0] = low[j] < low[0] ? low[j] : low[0];
    high[0] = high[j] > high[0] ? high[j] : high[0];
    bad[0] |= bad[j];
  }
  *lo = low[0];
  *hi = high[0];
  *nan = bad[0];
}

void TERSOR_SIMD_NAME(min_max_columns)(const float* x, size_t rows, size_t columns, float* lo,
                                       float* hi, int32_t* nan) noexcept {
  int32_t bad = 0;
  for (size_t r = 0; r < rows; ++r) {
    const float* row = x + r * columns;
    for (size_t c = 0; c < columns; ++c) {
      lo[c] = row[c] < lo[c] ? row[c] : lo[c];
      hi[c] = row[c] > hi[c] ? row[c] : hi[c];
      bad |= row[c] != row[c];
    }
  }
  *nan |= bad;
}

}  // namespace tersor::quantization
