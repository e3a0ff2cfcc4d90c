#include "tersor/quantization/affine.h"

#include <cmath>

#include "tersor/base/error.h"
#include "tersor/quantization/affine_runs.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

void check_affine(const char* op, std::size_t scales, const float* scale,
                  const std::int32_t* zero_point, std::int32_t lo, std::int32_t hi) {
  TERSOR_CHECK(lo <= hi && ((-128 <= lo && hi <= 127) || (0 <= lo && hi <= 255)), op,
               ": lo and hi must satisfy -128 <= lo <= hi <= 127 or 0 <= lo <= hi <= 255, got ", lo,
               " and ", hi);
  for (std::size_t s = 0; s < scales; ++s) {
    TERSOR_CHECK(std::isfinite(scale[s]) && scale[s] > 0, op,
                 ": scale must be finite and > 0, got ", scale[s], " for channel ", s);
    TERSOR_CHECK(lo <= zero_point[s] && zero_point[s] <= hi, op, ": zero_point must be in [", lo,
                 ", ", hi, "], got ", zero_point[s], " for channel ", s);
  }
}

}  // namespace

AffineShape affine_shape(const Shape& shape, ScaleAxes axes, const char* what) {
  AffineShape s;
  if (axes.axis < 0) {
    TERSOR_CHECK(axes.group_size == 0, what, ": axis must be given where group_size is, got none");
    s.inner = static_cast<std::size_t>(element_count(shape));
    return s;
  }
  const auto first = static_cast<std::size_t>(axes.axis);
  const std::size_t last = first + static_cast<std::size_t>(std::max(axes.axis_count, 0));
  TERSOR_CHECK(first < last && last <= shape.size(), what, ": axis must be below ", shape.size(),
               ", got ", axes.axis_count > 1 ? last - 1 : first);
  TERSOR_CHECK(axes.group_size >= 0, what, ": group_size must be at least 1, got ",
               axes.group_size);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    (d < first ? s.outer : d < last ? s.channels : s.inner) *= static_cast<std::size_t>(shape[d]);
  }
  s.group = static_cast<std::size_t>(axes.group_size);
  return s;
}

void quantize_affine(const float* x, std::int8_t* q, AffineShape shape, const float* scale,
                     const std::int32_t* zero_point, std::int32_t lo, std::int32_t hi) {
  check_affine("quantize_affine", shape.scales(), scale, zero_point, lo, hi);
  const auto kernel = quantize_affine_table.pick();
  const auto columns_kernel = quantize_affine_columns_table.pick();
  for_each_run(
      shape,
      [&](std::size_t begin, std::size_t n, std::size_t s) {
        kernel(x + begin, q + begin, n, scale[s], zero_point[s], lo, hi);
      },
      [&](std::size_t begin, std::size_t rows, std::size_t columns, std::size_t s) {
        columns_kernel(x + begin, q + begin, rows, columns, scale + s, zero_point + s, lo, hi);
      });
}

void dequantize_affine(const std::int8_t* q, float* y, AffineShape shape, const float* scale,
                       const std::int32_t* zero_point, bool is_unsigned) {
  check_affine("dequantize_affine", shape.scales(), scale, zero_point, is_unsigned ? 0 : -128,
               is_unsigned ? 255 : 127);
  const std::uint8_t flip = is_unsigned ? 128 : 0;
  const auto kernel = dequantize_affine_table.pick();
  const auto columns_kernel = dequantize_affine_columns_table.pick();
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
