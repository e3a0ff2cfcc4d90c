// The optimal partition of sorted weighted numbers into k runs: one-dimensional k-means is that
// (Wang & Song, "Ckmeans.1d.dp", R Journal 2011), because clusters are intervals.
//
// The squared error of a run is sum w x^2 - (sum w x)^2 / sum w, so the best partition has the
// highest sum of (sum w x)^2 / sum w over its runs. With prefix sums W[i], S[i] of w and w x:
//   value_1[i] = S[i]^2 / W[i]
//   value_j[i] = max over m < i of value_{j-1}[m] + (S[i] - S[m])^2 / (W[i] - W[m])
// The m that is best never falls as i or j rises (the error is a Monge array), so one layer takes
// O(n log n) by divide and conquer. Where there are many points, one pass with a price on every run
// replaces the layers (partition.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::codebook {

struct SplitLayer {
  const double* weight;    // W[0 .. end + kSplitPadding)
  const double* sum;       // S, the same size
  const double* previous;  // value_{j-1}, valid for first - 1 <= m < end - 1
  const uint32_t* lowest;  // [end] a lower bound of the best m per row, or null
  std::size_t first, end;  // rows
  double* value;           // [end + kSplitPadding], written for the rows
  uint32_t* split;         // [end], the m taken
};

// Kernels load whole vectors of rows; what stands behind the last row is never used.
inline constexpr std::size_t kSplitPadding = 8;

// value[i], split[i] for first <= i < end, over first - 1 <= m < i. W rises strictly. Variants give
// the same value up to the rounding of its terms (exactly, where the best m is monotone in floating
// point too).
using best_splits_sig = void(const SplitLayer& layer) noexcept;

// Starts of the k runs, and n: start[j] <= i < start[j + 1] is run j, none is empty. value ascends
// strictly, weight > 0, 1 <= k <= n < 2^31. O(sqrt(k) n) memory.
std::vector<std::size_t> optimal_partition(const double* value, const double* weight, std::size_t n,
                                           int k);

}  // namespace tersor::codebook
