#include "tersor/quantization/min_max.h"

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

std::vector<Range> min_max_axis(const float* x, const Shape& shape, int axis, int group_size,
                                const char* what) {
  const auto n = static_cast<size_t>(element_count(shape));
  TERSOR_CHECK(n > 0, what, ": x must not be empty, got shape ", to_string(shape));
  if (axis < 0) {
    TERSOR_CHECK(group_size == 0, what, ": axis must be 0 where group_size is given, got none");
    return {min_max(x, n, what)};
  }
  TERSOR_CHECK(static_cast<size_t>(axis) < shape.size(), what, ": axis must be below ",
               shape.size(), ", got ", axis);
  const auto channels = static_cast<size_t>(shape[static_cast<size_t>(axis)]);
  if (group_size > 0) {
    const auto group = static_cast<size_t>(group_size);
    TERSOR_CHECK(axis == 0, what, ": axis must be 0 where group_size is given, got ", axis);
    TERSOR_CHECK(n / channels % group == 0, what, ": group_size must divide ", n / channels,
                 ", got ", group_size);
    std::vector<Range> ranges(n / group);
    for (size_t g = 0; g < ranges.size(); ++g) ranges[g] = min_max(x + g * group, group, what);
    return ranges;
  }
  size_t outer = 1;
  for (int d = 0; d < axis; ++d) outer *= static_cast<size_t>(shape[static_cast<size_t>(d)]);
  const size_t inner = n / outer / channels;
  std::vector<float> lo(channels, std::numeric_limits<float>::infinity());
  std::vector<float> hi(channels, -std::numeric_limits<float>::infinity());
  int32_t nan = 0;
  if (inner == 1) {
    min_max_columns_table.pick()(x, outer, channels, lo.data(), hi.data(), &nan);
  } else {
    const auto kernel = min_max_table.pick();
    for (size_t o = 0; o < outer; ++o) {
      for (size_t c = 0; c < channels; ++c) {
        float low, high;
        int32_t bad;
        kernel(x + (o * channels + c) * inner, inner, &low, &high, &bad);
        lo[c] = std::min(lo[c], low);
        hi[c] = std::max(hi[c], high);
        nan |= bad;
      }
    }
  }
  std::vector<Range> ranges(channels);
  for (size_t c = 0; c < channels; ++c) {
    ranges[c] = {lo[c], hi[c]};
    check_finite(ranges[c], nan, what);
  }
  return ranges;
}

}  // namespace tersor::quantization
