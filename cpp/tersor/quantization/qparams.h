// Parameters of affine quantization: value = scale[c] * (code - zero_point[c]).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/min_max.h"
#include "tersor/tensor/shape.h"

namespace tersor::quantization {

struct QParams {
  std::vector<float> scale;         // one, or one per index of `axis`
  std::vector<int32_t> zero_point;  // same length
  int bits = 8;                     // 2..8
  bool is_signed = true;
  bool narrow = false;  // symmetric codes [-(2^(bits-1) - 1), ...]: weights
  int axis = -1;        // -1: per tensor
  int group_size = 0;   // 0: none; else (axis 0) one scale per row and group of that many values

  bool per_tensor() const { return axis < 0; }
  int32_t code_min() const { return is_signed ? -(1 << (bits - 1)) + (narrow ? 1 : 0) : 0; }
  int32_t code_max() const { return is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1; }
  bool operator==(const QParams&) const = default;
};

// How ranges become parameters. Symmetric means zero point 0 and narrow codes; otherwise all codes
// are used and the zero point is the code nearest to the range's zero.
struct QuantScheme {
  int bits = 8;
  bool is_signed = true;
  bool symmetric = false;
};

// One scale per range. A range is first widened to hold 0, so that 0 is exactly a code:
//   symmetric   scale = max(|lo|, |hi|) / code_max
//   otherwise   scale = (hi - lo) / (2^bits - 1), zero_point = round_half_even(code_min - lo /
//   scale)
// computed in double and rounded to float. An all-zero range gives scale 1 in an asymmetric scheme
// and for a single range; in a symmetric scheme with several ranges it takes the median of the
// others. Scales are at least 2^-126, so that x / scale stays finite for every x of the range.
// ValueError if ranges is empty, a bound is not finite, lo > hi, or bits is not in [2, 8].
TERSOR_API QParams choose_qparams(const std::vector<Range>& ranges, QuantScheme scheme,
                                  int axis = -1, int group_size = 0);

enum class RangeMethod : uint8_t { minmax, percentile, mse, entropy };
TERSOR_API RangeMethod range_method_from_name(const std::string& name);  // ValueError lists them

// Parameters for float32 data of this shape, by range search per channel or group (range_search.h).
// ValueError on an empty x, NaN or infinity.
TERSOR_API QParams choose_qparams(const float* x, const Shape& shape, QuantScheme scheme, int axis,
                                  int group_size, RangeMethod method, double percentile);

}  // namespace tersor::quantization
