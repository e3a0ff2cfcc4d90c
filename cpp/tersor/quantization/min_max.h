// Smallest and largest value of float arrays, in one pass that also finds NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/affine.h"

namespace tersor::quantization {

struct Range {
  float lo = 0;
  float hi = 0;
  bool operator==(const Range&) const = default;
};

// lo = min x[i], hi = max x[i] over all x[i] that are not NaN (+inf and -inf when there is none);
// *nan != 0 if and only if one is. Exact, in any order; which of -0 and +0 is unspecified.
using min_max_sig = void(const float* x, size_t n, float* lo, float* hi, int32_t* nan) noexcept;

// The same per column of x[rows][columns]: widens lo[columns], hi[columns], sets *nan but never
// clears it.
using min_max_columns_sig = void(const float* x, size_t rows, size_t columns, float* lo, float* hi,
                                 int32_t* nan) noexcept;

// Range of n values. ValueError "<what>: x must ..." when n == 0 or a value is NaN or infinite.
TERSOR_API Range min_max(const float* x, size_t n, const char* what = "min_max");

// Range of the values of each scale of a contiguous float32 array (affine.h). ValueError as above.
TERSOR_API std::vector<Range> min_max_scales(const float* x, const AffineShape& shape,
                                             const char* what = "min_max");

}  // namespace tersor::quantization
