// Scores of weights that take more than a product of two arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::pruning {

// Layer-adaptive magnitudes (Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based
// Pruning", equation 4): out[i] = w[i]^2 / sum of w[j]^2 over all j that magnitude pruning removes
// later than i, itself included. Of equal magnitudes the one with the lower index stays longer.
// Sums in float64 from the largest on; 0 where w[i] is 0. The largest scores 1. ValueError if a
// weight is NaN or infinite.
TERSOR_API void lamp_scores(const float* w, std::size_t n, float* out);

// Uniform in [0, 1), multiples of 2^-24; a function of seed and index alone (base/random.h).
TERSOR_API void random_scores(std::uint64_t seed, std::size_t n, float* out);

}  // namespace tersor::pruning
