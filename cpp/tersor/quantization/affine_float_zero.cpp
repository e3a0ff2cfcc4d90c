#include "tersor/quantization/affine_float_zero.h"

#include <cmath>

#include "tersor/base/error.h"
#include "tersor/quantization/affine_runs.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

void check_float_zero(const char* op, std::size_t scales, const float* scale,
                      const float* zero_point) {
  for (std::size_t s = 0; s < scales; ++s) {
    TERSOR_CHECK(std::isfinite(scale[s]) && scale[s] > 0, op,
                 ": scale must be finite and > 0, got ", scale[s], " for group ", s);
    TERSOR_CHECK(std::fabs(zero_point[s]) <= 0x1p21f, op,
                 ": zero_point must be in [-2^21, 2^21], got ", zero_point[s], " for group ", s);
  }
}

}  // namespace

void quantize_float_zero(const float* x, std::int8_t* q, AffineShape shape, const float* scale,
                         const float* zero_point, std::int32_t lo, std::int32_t hi) {
  check_float_zero("quantize_float_zero", shape.scales(), scale, zero_point);
  TERSOR_CHECK(lo <= hi && ((-128 <= lo && hi <= 127) || (0 <= lo && hi <= 255)),
               "quantize_float_zero: lo and hi must be codes of int8 or uint8, got ", lo, " and ",
               hi);
  const auto kernel = quantize_float_zero_table.pick();
  const auto columns_kernel = quantize_float_zero_columns_table.pick();
  for_each_run(
      shape,
      [&](std::size_t begin, std::size_t n, std::size_t s) {
        kernel(x + begin, q + begin, n, scale[s], zero_point[s], lo, hi);
      },
      [&](std::size_t begin, std::size_t rows, std::size_t columns, std::size_t s) {
        columns_kernel(x + begin, q + begin, rows, columns, scale + s, zero_point + s, lo, hi);
      });
}

void dequantize_float_zero(const std::int8_t* q, float* y, AffineShape shape, const float* scale,
                           const float* zero_point, bool is_unsigned) {
  check_float_zero("dequantize_float_zero", shape.scales(), scale, zero_point);
  const std::uint8_t flip = is_unsigned ? 128 : 0;
  const auto kernel = dequantize_float_zero_table.pick();
  const auto columns_kernel = dequantize_float_zero_columns_table.pick();
  for_each_run(
      shape,
      [&](std::size_t begin, std::size_t n, std::size_t s) {
        kernel(q + begin, y + begin, n, scale[s], zero_point[s], flip);
      },
      [&](std::size_t begin, std::size_t rows, std::size_t columns, std::size_t s) {
        columns_kernel(q + begin, y + begin, rows, columns, scale + s, zero_point + s, flip);
      });
}

}  // namespace tersor::quantization
