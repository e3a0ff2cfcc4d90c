#include "tersor/quantization/qparams.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/affine_float_zero.h"
#include "tersor/quantization/codebook_codes.h"
#include "tersor/quantization/qparams_check.h"
#include "tersor/quantization/range_search.h"
#include "tersor/tensor/half.h"

namespace tersor::quantization {
namespace {

constexpr double kLeastScale = 0x1p-126;     // the smallest normal float
constexpr double kLeastHalfScale = 0x1p-24;  // the smallest float16
constexpr float kLargestHalf = 65504;

bool is_half(QuantScheme scheme) { return scheme.scale_dtype == DType::float16; }

float rounded(double value, QuantScheme scheme) {
  const auto narrow = static_cast<float>(value);
  return is_half(scheme) ? half_to_float(float_to_half(narrow)) : narrow;
}

float rounded_scale(double scale, QuantScheme scheme) {
  // Below 2^-14 float16 has steps of 2^-24: rounded down, a scale would clip several codes' worth
  // of its range, so it is rounded up there.
  if (is_half(scheme) && scale < 0x1p-14)
    return static_cast<float>(std::max(1.0, std::ceil(scale / kLeastHalfScale)) * kLeastHalfScale);
  return rounded(std::max(scale, is_half(scheme) ? kLeastHalfScale : kLeastScale), scheme);
}

double magnitude(const Range& range) {
  return std::max(std::fabs(static_cast<double>(range.lo)),
                  std::fabs(static_cast<double>(range.hi)));
}

// Without data: only what a code range needs.
QParams codes_of(QuantScheme scheme) {
  QParams q;
  q.bits = scheme.bits;
  q.is_signed = scheme.is_signed;
  q.narrow = scheme.symmetric;
  return q;
}

void check_scheme(QuantScheme scheme) {
  TERSOR_CHECK(2 <= scheme.bits && scheme.bits <= 8, "choose_qparams: bits must be in [2, 8], got ",
               scheme.bits);
  TERSOR_CHECK(scheme.is_signed || !scheme.symmetric,
               "choose_qparams: signed must be True where symmetric is, got False");
  TERSOR_CHECK(!scheme.float_zero_point || !scheme.symmetric,
               "choose_qparams: symmetric must be False where float_zero_point is True, got True");
  TERSOR_CHECK(scheme.scale_dtype == DType::float32 || is_half(scheme),
               "choose_qparams: scale_dtype must be float32 or float16, got ",
               name_of(scheme.scale_dtype));
}

void check_range(const Range& range) {
  TERSOR_CHECK(std::isfinite(range.lo) && std::isfinite(range.hi),
               "choose_qparams: range must be finite, got [", range.lo, ", ", range.hi, "]");
  TERSOR_CHECK(range.lo <= range.hi, "choose_qparams: range must have lo <= hi, got [", range.lo,
               ", ", range.hi, "]");
}

// Lower median of the scales that are not zero; 1 when all are.
float median_scale(std::vector<float> scales) {
  std::erase(scales, 0.0f);
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

// The values of one scale, gathered into `values` unless they lie in a row.
const float* values_of(const float* x, const AffineShape& shape, size_t scale,
                       std::vector<float>& values) {
  const size_t inner = shape.inner;
  values.clear();
  if (shape.group == 0) {
    if (shape.outer == 1) return x + scale * inner;
    for (size_t o = 0; o < shape.outer; ++o) {
      const float* from = x + (o * shape.channels + scale) * inner;
      values.insert(values.end(), from, from + inner);
    }
    return values.data();
  }
  const size_t block = scale / inner, first = block % shape.groups() * shape.group;
  const float* from = x + (block / shape.groups() * shape.channels + first) * inner;
  if (inner == 1) return from;
  for (size_t c = first; c < std::min(first + shape.group, shape.channels); ++c, from += inner) {
    values.push_back(from[scale % inner]);
  }
  return values.data();
}

size_t count_of(const AffineShape& shape, size_t scale) {
  if (shape.group == 0) return shape.outer * shape.inner;
  const size_t first = scale / shape.inner % shape.groups() * shape.group;
  return std::min(shape.group, shape.channels - first);
}

}  // namespace

ScaleAndZero scale_and_zero(Range range, QuantScheme scheme) {
  const QParams codes = codes_of(scheme);
  if (scheme.symmetric) {
    const double scale = magnitude(range) / codes.code_max();
    return {scale > 0 ? rounded_scale(scale, scheme) : 0, 0};
  }
  const double steps = codes.code_max() - codes.code_min();
  const double lo = scheme.float_zero_point ? static_cast<double>(range.lo)
                                            : std::min(0.0, static_cast<double>(range.lo));
  const double hi = scheme.float_zero_point ? static_cast<double>(range.hi)
                                            : std::max(0.0, static_cast<double>(range.hi));
  double step = (hi - lo) / steps;
  if (scheme.float_zero_point) {
    step = std::max(step, magnitude(range) * (is_half(scheme) ? 0x1p-9 : 0x1p-20));
  }
  const float scale = step > 0 ? rounded_scale(step, scheme) : 1;
  const double zero = codes.code_min() - lo / static_cast<double>(scale);
  if (scheme.float_zero_point) return {scale, rounded(zero, scheme)};
  return {scale,
          static_cast<float>(std::clamp(std::nearbyint(zero), static_cast<double>(codes.code_min()),
                                        static_cast<double>(codes.code_max())))};
}

QParams choose_qparams(const std::vector<Range>& ranges, QuantScheme scheme, ScaleAxes axes) {
  TERSOR_CHECK(!ranges.empty(), "choose_qparams: ranges must not be empty, got none");
  check_scheme(scheme);
  QParams q = codes_of(scheme);
  q.axis = axes.axis;
  q.axis_count = axes.axis_count;
  q.group_size = axes.group_size;
  q.scale.resize(ranges.size());
  q.zero_point.assign(ranges.size(), 0);
  if (scheme.float_zero_point) q.zero_point_float.resize(ranges.size());
  for (size_t s = 0; s < ranges.size(); ++s) {
    check_range(ranges[s]);
    const ScaleAndZero chosen = scale_and_zero(ranges[s], scheme);
    TERSOR_CHECK(!is_half(scheme) || chosen.scale <= kLargestHalf,
                 "choose_qparams: range must give a scale of at most 65504 with scale_dtype "
                 "float16, got [",
                 ranges[s].lo, ", ", ranges[s].hi, "]");
    q.scale[s] = chosen.scale;
    if (scheme.float_zero_point) {
      q.zero_point_float[s] = chosen.zero_point;
    } else {
      q.zero_point[s] = static_cast<int32_t>(chosen.zero_point);
    }
  }
  const float median = median_scale(q.scale);
  std::replace(q.scale.begin(), q.scale.end(), 0.0f, median);
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

QParams choose_qparams(const float* x, const Shape& shape, QuantScheme scheme, ScaleAxes axes,
                       RangeMethod method, double percentile) {
  check_scheme(scheme);
  const AffineShape layout = affine_shape(shape, axes, "choose_qparams");
  std::vector<Range> ranges = min_max_scales(x, layout, "choose_qparams");
  if (method == RangeMethod::minmax) return choose_qparams(ranges, scheme, axes);
  const size_t values = layout.size() / ranges.size();
  parallel_for(ranges.size(), std::max<size_t>(1, (size_t{1} << 12) / std::max<size_t>(values, 1)),
               [&](size_t begin, size_t end) {
                 std::vector<float> gathered;
                 for (size_t s = begin; s < end; ++s) {
                   ranges[s] = found_range(values_of(x, layout, s, gathered), count_of(layout, s),
                                           ranges[s], scheme, method, percentile);
                 }
               });
  return choose_qparams(ranges, scheme, axes);
}

AffineShape checked_layout(const char* op, const Shape& shape, const QParams& q,
                           Codebook codebook) {
  TERSOR_CHECK(codebook == Codebook::taken || !q.has_codebook(), op,
               ": qparams must be without a codebook, got one of ", q.codebook.size(), " values");
  if (q.has_codebook()) {
    check_codebook(op, shape, q);
  } else {
    TERSOR_CHECK(2 <= q.bits && q.bits <= 8, op, ": bits must be in [2, 8], got ", q.bits);
  }
  const AffineShape layout = affine_shape(shape, q.axes(), op);
  const size_t scales = layout.scales();
  const size_t zeros = q.has_float_zero() ? q.zero_point_float.size() : q.zero_point.size();
  TERSOR_CHECK(q.scale.size() == scales && zeros == scales, op, ": scale and zero_point must have ",
               scales, " elements, got ", q.scale.size(), " and ", zeros);
  for (size_t s = 0; s < scales; ++s) {
    TERSOR_CHECK(std::isfinite(q.scale[s]) && q.scale[s] > 0, op,
                 ": scale must be finite and > 0, got ", q.scale[s], " for channel ", s);
    if (q.has_float_zero()) {
      TERSOR_CHECK(std::fabs(q.zero_point_float[s]) <= 0x1p21f, op,
                   ": zero_point must be in [-2^21, 2^21], got ", q.zero_point_float[s],
                   " for channel ", s);
    } else {
      TERSOR_CHECK(q.code_min() <= q.zero_point[s] && q.zero_point[s] <= q.code_max(), op,
                   ": zero_point must be in [", q.code_min(), ", ", q.code_max(), "], got ",
                   q.zero_point[s], " for channel ", s);
    }
  }
  return layout;
}

void quantize(const float* x, const Shape& shape, const QParams& q, void* codes) {
  const AffineShape layout = checked_layout("quantize", shape, q, Codebook::taken);
  if (q.has_codebook()) return quantize_codebook(x, shape, q, static_cast<uint8_t*>(codes));
  auto* out = static_cast<int8_t*>(codes);
  if (q.has_float_zero()) {
    quantize_float_zero(x, out, layout, q.scale.data(), q.zero_point_float.data(), q.code_min(),
                        q.code_max());
  } else {
    quantize_affine(x, out, layout, q.scale.data(), q.zero_point.data(), q.code_min(),
                    q.code_max());
  }
}

void dequantize(const void* codes, const Shape& shape, const QParams& q, float* y) {
  const AffineShape layout = checked_layout("dequantize", shape, q, Codebook::taken);
  if (q.has_codebook()) {
    return dequantize_codebook(static_cast<const uint8_t*>(codes), shape, q, y);
  }
  const auto* in = static_cast<const int8_t*>(codes);
  if (q.has_float_zero()) {
    dequantize_float_zero(in, y, layout, q.scale.data(), q.zero_point_float.data(), !q.is_signed);
  } else {
    dequantize_affine(in, y, layout, q.scale.data(), q.zero_point.data(), !q.is_signed);
  }
}

}  // namespace tersor::quantization
