// Which part of the values' range the codes should cover: clipping a few outliers buys finer steps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/min_max.h"

namespace tersor::quantization {

struct QuantScheme;

// sum_i (x[i] - scale * (clamp(round_half_even(x[i] / scale + zero), lo, hi) - zero))^2. `zero` is
// 0 where lo and hi have an integer zero point already taken off. Variants may sum in any order and
// multiply by 1 / scale: relative error at most n * eps(float) / 8, plus what a code that moved on
// a near-tie changes.
using quantization_error_sig = double(const float* x, size_t n, float scale, float zero, float lo,
                                      float hi) noexcept;

// Both ends cut so that the share `percentile` (in (0.5, 1], such as 0.9999) of the values lies at
// or below the upper end, and the same share at or above the lower. Ends are values of x (the order
// statistic of rank ceil(percentile * n)), respectively upper and lower edges of bins, never
// outside the exact range. ValueError if percentile is out of range or there are no values.
TERSOR_API Range percentile_range(const float* x, size_t n, double percentile);
TERSOR_API Range percentile_range(const Histogram& histogram, double percentile);

// The range whose quantization error is least among `range` shrunk in steps of 1 % to 30 % (search
// over the upper end, then the lower, then both once more; both ends together in a symmetric
// scheme; with a float zero point by steps of 1 % of the range's width). Values of a histogram
// count as their bin's centre.
TERSOR_API Range mse_range(const float* x, size_t n, Range range, QuantScheme scheme);
TERSOR_API Range mse_range(const Histogram& histogram, QuantScheme scheme);

// The range that loses least information: the smallest Kullback-Leibler divergence between the
// histogram and what the codes can tell of it (Migacz, "8-bit Inference with TensorRT", GTC 2017).
// For one range, with its scale and its codes lo..hi (zero point taken off):
//   inside  bins whose centre rounds (ties up) to a code in [lo, hi];
//   P       counts inside, those outside added to the outermost bins inside that hold values;
//   Q       for each code its bins' counts inside, shared equally among those that hold values;
//   error   sum P/|P| * log((P/|P|) / (Q/|Q|)), infinite if scale is below the width of a bin (as
//           many codes as bins would lose nothing) or no value is inside.
// The bin that begins at 0 counts at most as much as the larger of its neighbours: zeros are
// exactly a code and lose nothing, and after a ReLU they would outweigh everything else.
// Candidates and their order are those of mse_range, in steps of 1 % to 6 % of the range (Migacz
// begins with 128 of 2048 bins). The whole range if every error is infinite. An array is counted
// into a Histogram first.
TERSOR_API Range entropy_range(const float* x, size_t n, QuantScheme scheme);
TERSOR_API Range entropy_range(const Histogram& histogram, QuantScheme scheme);

}  // namespace tersor::quantization
