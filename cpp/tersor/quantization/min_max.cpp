#include "tersor/quantization/min_max.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tersor/base/error.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

void check_finite(const Range& range, int32_t nan, const char* what) {
  TERSOR_CHECK(nan == 0, what, ": x must be finite, got nan");
  TERSOR_CHECK(std::isfinite(range.lo) && std::isfinite(range.hi), what, ": x must be finite, got ",
               std::isfinite(range.hi) ? range.lo : range.hi);
}

}  // namespace

Range min_max(const float* x, size_t n, const char* what) {
  TERSOR_CHECK(n > 0, what, ": x must not be empty, got 0 values");
  Range range;
  int32_t nan = 0;
  min_max_table.pick()(x, n, &range.lo, &range.hi, &nan);
  check_finite(range, nan, what);
  return range;
}

std::vector<Range> min_max_scales(const float* x, const AffineShape& shape, const char* what) {
  TERSOR_CHECK(shape.size() > 0, what, ": x must not be empty, got 0 values");
  const size_t inner = shape.inner, scales = shape.scales();
  std::vector<float> lo(scales, std::numeric_limits<float>::infinity());
  std::vector<float> hi(scales, -std::numeric_limits<float>::infinity());
  int32_t nan = 0;
  const auto kernel = min_max_table.pick();
  const auto columns_kernel = min_max_columns_table.pick();
  const auto along = [&](const float* values, size_t n, size_t s) {
    float low, high;
    int32_t bad;
    kernel(values, n, &low, &high, &bad);
    lo[s] = std::min(lo[s], low);
    hi[s] = std::max(hi[s], high);
    nan |= bad;
  };
  if (shape.group > 0) {
    const size_t groups = shape.groups();
    for (size_t b = 0; b < shape.outer * groups; ++b) {
      const size_t first = b % groups * shape.group;
      const size_t length = std::min(shape.group, shape.channels - first);
      const float* values = x + (b / groups * shape.channels + first) * inner;
      if (inner == 1) {
        along(values, length, b);
      } else {
        columns_kernel(values, length, inner, &lo[b * inner], &hi[b * inner], &nan);
      }
    }
  } else if (inner == 1) {
    columns_kernel(x, shape.outer, scales, lo.data(), hi.data(), &nan);
  } else {
    for (size_t b = 0; b < shape.outer * scales; ++b) along(x + b * inner, inner, b % scales);
  }
  std::vector<Range> ranges(scales);
  for (size_t s = 0; s < scales; ++s) {
    ranges[s] = {lo[s], hi[s]};
    check_finite(ranges[s], nan, what);
  }
  return ranges;
}

}  // namespace tersor::quantization
