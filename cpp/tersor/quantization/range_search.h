// Which part of the values' range the codes should cover: clipping a few outliers buys finer steps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/min_max.h"

namespace tersor::quantization {

struct QuantScheme;

// sum_i (x[i] - scale * clamp(round_half_even(x[i] / scale), lo, hi))^2, where lo <= 0 <= hi are
// codes with the zero point already taken off. Variants may sum in any order: relative error at
// most n * eps(float) / 8.
using quantization_error_sig = double(const float* x, size_t n, float scale, float lo,
                                      float hi) noexcept;

// Both ends cut so that the share `percentile` (in (0.5, 1], such as 0.9999) of the values lies at
// or below the upper end, and the same share at or above the lower. Ends are values of x (the order
// statistic of rank ceil(percentile * n)), respectively upper and lower edges of bins, never
// outside the exact range. ValueError if percentile is out of range or there are no values.
TERSOR_API Range percentile_range(const float* x, size_t n, double percentile);
TERSOR_API Range percentile_range(const Histogram& histogram, double percentile);

// The range whose quantization error is least among `range` shrunk in steps of 1 % to 30 % (search
// over the upper end, then the lower, then both once more; both ends together in a symmetric
// scheme). Values of a histogram count as their bin's centre.
TERSOR_API Range mse_range(const float* x, size_t n, Range range, QuantScheme scheme);
TERSOR_API Range mse_range(const Histogram& histogram, QuantScheme scheme);

}  // namespace tersor::quantization
