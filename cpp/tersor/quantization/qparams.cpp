#include "tersor/quantization/qparams.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/range_search.h"

namespace tersor::quantization {
namespace {

constexpr double kLeastScale = 0x1p-126;  // the smallest normal float

void check_range(const Range& range) {
  TERSOR_CHECK(std::isfinite(range.lo) && std::isfinite(range.hi),
               "choose_qparams: range must be finite, got [", range.lo, ", ", range.hi, "]");
  TERSOR_CHECK(range.lo <= range.hi, "choose_qparams: range must have lo <= hi, got [", range.lo,
               ", ", range.hi, "]");
}

double symmetric_scale(const Range& range, int32_t code_max) {
  return std::max(std::fabs(static_cast<double>(range.lo)),
                  std::fabs(static_cast<double>(range.hi))) /
         code_max;
}

// Lower median of the scales that are not zero; 1 when all are.
double median_scale(std::vector<double> scales) {
  std::erase(scales, 0.0);
  if (scales.empty()) return 1;
  const auto middle = scales.begin() + static_cast<std::ptrdiff_t>((scales.size() - 1) / 2);
  std::nth_element(scales.begin(), middle, scales.end());
  return *middle;
}

Range found_range(const float* x, size_t n, Range range, QuantScheme scheme, RangeMethod method,
                  double percentile) {
  switch (method) {
    case RangeMethod::percentile:
      return percentile_range(x, n, percentile);
    case RangeMethod::mse:
      return mse_range(x, n, range, scheme);
    case RangeMethod::entropy:
      return entropy_range(x, n, scheme);
    case RangeMethod::minmax:
      break;
  }
  return range;
}

}  // namespace

QParams choose_qparams(const std::vector<Range>& ranges, QuantScheme scheme, int axis,
                       int group_size) {
  TERSOR_CHECK(!ranges.empty(), "choose_qparams: ranges must not be empty, got none");
  TERSOR_CHECK(2 <= scheme.bits && scheme.bits <= 8, "choose_qparams: bits must be in [2, 8], got ",
               scheme.bits);
  TERSOR_CHECK(scheme.is_signed || !scheme.symmetric,
               "choose_qparams: signed must be True where symmetric is, got False");
  QParams q;
  q.bits = scheme.bits;
  q.is_signed = scheme.is_signed;
  q.narrow = scheme.symmetric;
  q.axis = axis;
  q.group_size = group_size;
  std::vector<double> scales(ranges.size());
  q.zero_point.assign(ranges.size(), 0);
  for (size_t c = 0; c < ranges.size(); ++c) {
    check_range(ranges[c]);
    if (scheme.symmetric) {
      scales[c] = symmetric_scale(ranges[c], q.code_max());
      continue;
    }
    const double lo = std::min(0.0, static_cast<double>(ranges[c].lo));
    const double hi = std::max(0.0, static_cast<double>(ranges[c].hi));
    const double steps = q.code_max() - q.code_min();
    const float scale = static_cast<float>(std::max((hi - lo) / steps, kLeastScale));
    scales[c] = hi > lo ? static_cast<double>(scale) : 1;
    const double zero = std::nearbyint(q.code_min() - lo / scales[c]);
    q.zero_point[c] = static_cast<int32_t>(
        std::clamp(zero, static_cast<double>(q.code_min()), static_cast<double>(q.code_max())));
  }
  const double median = scheme.symmetric ? median_scale(scales) : 1;
  q.scale.resize(scales.size());
  for (size_t c = 0; c < scales.size(); ++c) {
    const double scale = scales[c] == 0 ? median : std::max(scales[c], kLeastScale);
    q.scale[c] = static_cast<float>(scale);
  }
  return q;
}

RangeMethod range_method_from_name(const std::string& name) {
  if (name == "minmax") return RangeMethod::minmax;
  if (name == "percentile") return RangeMethod::percentile;
  if (name == "mse") return RangeMethod::mse;
  if (name == "entropy") return RangeMethod::entropy;
  throw ValueError(message(
      "choose_qparams: method must be minmax, percentile, mse or entropy, got '", name, "'"));
}

QParams choose_qparams(const float* x, const Shape& shape, QuantScheme scheme, int axis,
                       int group_size, RangeMethod method, double percentile) {
  std::vector<Range> ranges = min_max_axis(x, shape, axis, group_size, "choose_qparams");
  if (method == RangeMethod::minmax) return choose_qparams(ranges, scheme, axis, group_size);
  const auto n = static_cast<size_t>(element_count(shape));
  // Channels of a strided axis are gathered, one at a time, into consecutive memory.
  size_t inner = axis < 0 ? n : group_size > 0 ? static_cast<size_t>(group_size) : 1;
  if (axis >= 0 && group_size == 0) {
    for (size_t d = static_cast<size_t>(axis) + 1; d < shape.size(); ++d) {
      inner *= static_cast<size_t>(shape[d]);
    }
  }
  const size_t channels = ranges.size(), outer = n / channels / inner;
  parallel_for(
      channels, std::max<size_t>(1, (size_t{1} << 12) / (n / channels)),
      [&](size_t begin, size_t end) {
        std::vector<float> gathered(outer == 1 ? 0 : n / channels);
        for (size_t c = begin; c < end; ++c) {
          const float* values = x + c * inner;
          if (outer > 1) {
            for (size_t o = 0; o < outer; ++o) {
              std::copy_n(x + (o * channels + c) * inner, inner, gathered.data() + o * inner);
            }
            values = gathered.data();
          }
          ranges[c] = found_range(values, n / channels, ranges[c], scheme, method, percentile);
        }
      });
  return choose_qparams(ranges, scheme, axis, group_size);
}

}  // namespace tersor::quantization
