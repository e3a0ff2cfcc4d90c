// The nearest of k sorted centroids for every value.
//
// Code c means centroids[c]. The nearest is found by thresholds: the largest float32 that is not
// above the middle of two neighbours, so that ties take the lower one and no rounding is involved.
// A centroid for zeros alone has no thresholds: x = 0 gets its code, and nothing else does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::codebook {

inline constexpr int kMostCentroids = 256;

struct AssignTable {
  // Ascending thresholds between the centroids other than the zero one, and infinities up to
  // 2^steps - 1 of them.
  float thresholds[kMostCentroids];
  float centroids[kMostCentroids];
  int count = 0;  // thresholds that are not infinite
  int steps = 0;  // of a binary search
  int zero = -1;  // code of zeros, or -1
};

// codes[i] = number of thresholds below x[i], plus 1 from `zero` on, or `zero` for x[i] = 0;
// *error = sum of (x[i] - centroids[codes[i]])^2 in float64. x is finite.
using assign_nearest_sig = void(const float* x, std::size_t n, const AssignTable& table,
                                uint8_t* codes, double* error) noexcept;

// Thresholds of ascending centroids; `zero` is the place of one that is for zeros alone, or -1.
AssignTable assign_table(const std::vector<float>& centroids, int zero);

// Codes of x[0..n), and the squared error, which does not depend on the number of threads. With
// weights (null: 1), each square counts weights[i] times.
double assign(const float* x, const float* weights, std::size_t n,
              const std::vector<float>& centroids, int zero, uint8_t* codes);
double assign(const double* x, const float* weights, std::size_t n,
              const std::vector<double>& centroids, int zero, uint8_t* codes);

}  // namespace tersor::codebook
