// Compiled once per instruction set, so everything here but the kernels is static.
#include "tersor/runtime/float32_functions.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr size_t kLaneCount = 16;

// Combines f(x[i]) over a row in 16 lanes, then pairwise. The compiler keeps `lanes` in registers.
template <class F, class Combine>
inline float reduce_row(const float* x, size_t n, float start, F f, Combine combine) {
  float lanes[kLaneCount];
  for (size_t j = 0; j < kLaneCount; ++j) lanes[j] = start;
  size_t i = 0;
  for (; i + kLaneCount <= n; i += kLaneCount) {
    for (size_t j = 0; j < kLaneCount; ++j) lanes[j] = combine(lanes[j], f(x[i + j]));
  }
  for (size_t j = 0; i + j < n; ++j) lanes[j] = combine(lanes[j], f(x[i + j]));
  for (size_t width = kLaneCount / 2; width; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] = combine(lanes[j], lanes[j + width]);
  }
  return lanes[0];
}

inline float plus(float a, float b) { return a + b; }
inline float larger(float a, float b) { return b > a ? b : a; }

template <class F>
inline float sum_row(const float* x, size_t n, F f) {
  return reduce_row(x, n, 0.0f, f, [](float a, float b) { return plus(a, b); });
}

}  // namespace

void TERSOR_SIMD_NAME(softmax_float32)(const float* x, float* y, size_t rows, size_t n,
                                       bool logarithm) noexcept {
  for (size_t r = 0; r < rows; ++r, x += n, y += n) {
    const float largest = reduce_row(
        x, n, -kInfinity, [](float v) { return v; }, [](float a, float b) { return larger(a, b); });
    if (logarithm) {
      const float sum = sum_row(x, n, [=](float v) { return exp_of_negative(v - largest); });
      const float log_sum = log_of(sum);
#pragma GCC ivdep
      for (size_t i = 0; i < n; ++i) y[i] = (x[i] - largest) - log_sum;
    } else {
#pragma GCC ivdep
      for (size_t i = 0; i < n; ++i) y[i] = exp_of_negative(x[i] - largest);
      const float sum = sum_row(y, n, [](float v) { return v; });
      const float factor = 1.0f / sum;
#pragma GCC ivdep
      for (size_t i = 0; i < n; ++i) y[i] *= factor;
    }
  }
}

void TERSOR_SIMD_NAME(layer_norm_float32)(const float* x, float* y, size_t rows, size_t n,
                                          const float* gamma, const float* beta,
                                          float epsilon) noexcept {
  const float count = static_cast<float>(n);
  for (size_t r = 0; r < rows; ++r, x += n, y += n) {
    const float mean = sum_row(x, n, [](float v) { return v; }) / count;
    const float squares = sum_row(x, n, [=](float v) { return (v - mean) * (v - mean); });
    const float factor = 1.0f / __builtin_sqrtf(squares / count + epsilon);
    if (beta) {
#pragma GCC ivdep
      for (size_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * factor * gamma[i] + beta[i];
    } else {
#pragma GCC ivdep
      for (size_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * factor * gamma[i];
    }
  }
}

void TERSOR_SIMD_NAME(sum_rows_float32)(const float* x, float* y, size_t rows, size_t n,
                                        float factor) noexcept {
  for (size_t r = 0; r < rows; ++r)
    y[r] = sum_row(x + r * n, n, [](float v) { return v; }) * factor;
}

void TERSOR_SIMD_NAME(sum_columns_float32)(const float* __restrict x, float* __restrict y,
                                           size_t rows, size_t columns, float factor) noexcept {
  // 64 columns at a time stay in registers or L1.
  for (size_t first = 0; first < columns; first += 64) {
    const size_t count = columns - first < 64 ? columns - first : 64;
    float sums[64] = {};
    const float* row = x + first;
    if (count == 64) {
      for (size_t r = 0; r < rows; ++r, row += columns) {
        for (size_t c = 0; c < 64; ++c) sums[c] += row[c];
      }
    } else {
      for (size_t r = 0; r < rows; ++r, row += columns) {
        for (size_t c = 0; c < count; ++c) sums[c] += row[c];
      }
    }
    for (size_t c = 0; c < count; ++c) y[first + c] = sums[c] * factor;
  }
}

}  // namespace tersor::runtime
