#include "tersor/quantization/affine.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// About 10 us of work for a thread, several times what waking it costs.
constexpr std::size_t kGrain = 1 << 16;

void check_affine(const char* op, std::size_t channels, const float* scale,
                  const std::int32_t* zero_point, std::int32_t lo, std::int32_t hi) {
  TERSOR_CHECK(-128 <= lo && lo <= hi && hi <= 127, op,
               ": lo and hi must satisfy -128 <= lo <= hi <= 127, got ", lo, " and ", hi);
  for (std::size_t c = 0; c < channels; ++c) {
    TERSOR_CHECK(std::isfinite(scale[c]) && scale[c] > 0, op,
                 ": scale must be finite and > 0, got ", scale[c], " for channel ", c);
    TERSOR_CHECK(lo <= zero_point[c] && zero_point[c] <= hi, op, ": zero_point must be in [", lo,
                 ", ", hi, "], got ", zero_point[c], " for channel ", c);
  }
}

// Calls along(begin, n, channel) for runs of one channel, or across(first_row, rows) when the
// channels are the last axis.
template <class Along, class Across>
void for_each_run(AffineShape s, const Along& along, const Across& across) {
  if (s.outer * s.channels * s.inner == 0) return;
  if (s.channels == 1) {
    parallel_for(s.outer * s.inner, kGrain,
                 [&](std::size_t begin, std::size_t end) { along(begin, end - begin, 0); });
  } else if (s.inner == 1) {
    parallel_for(s.outer, std::max<std::size_t>(kGrain / s.channels, 1),
                 [&](std::size_t begin, std::size_t end) { across(begin, end - begin); });
  } else {
    parallel_for(s.outer * s.channels, std::max<std::size_t>(kGrain / s.inner, 1),
                 [&](std::size_t begin, std::size_t end) {
                   for (std::size_t i = begin; i < end; ++i) {
                     along(i * s.inner, s.inner, i % s.channels);
                   }
                 });
  }
}

}  // namespace

void quantize_affine(const float* x, std::int8_t* q, AffineShape shape, const float* scale,
                     const std::int32_t* zero_point, std::int32_t lo, std::int32_t hi) {
  check_affine("quantize_affine", shape.channels, scale, zero_point, lo, hi);
  const auto kernel = quantize_affine_table.pick();
  const auto columns_kernel = quantize_affine_columns_table.pick();
  for_each_run(
      shape,
      [&](std::size_t begin, std::size_t n, std::size_t c) {
        kernel(x + begin, q + begin, n, scale[c], zero_point[c], lo, hi);
      },
      [&](std::size_t row, std::size_t rows) {
        const std::size_t begin = row * shape.channels;
        columns_kernel(x + begin, q + begin, rows, shape.channels, scale, zero_point, lo, hi);
      });
}

void dequantize_affine(const std::int8_t* q, float* y, AffineShape shape, const float* scale,
                       const std::int32_t* zero_point) {
  check_affine("dequantize_affine", shape.channels, scale, zero_point, -128, 127);
  const auto kernel = dequantize_affine_table.pick();
  const auto columns_kernel = dequantize_affine_columns_table.pick();
  for_each_run(
      shape,
      [&](std::size_t begin, std::size_t n, std::size_t c) {
        kernel(q + begin, y + begin, n, scale[c], zero_point[c]);
      },
      [&](std::size_t row, std::size_t rows) {
        const std::size_t begin = row * shape.channels;
        columns_kernel(q + begin, y + begin, rows, shape.channels, scale, zero_point);
      });
}

}  // namespace tersor::quantization
