// The distinct values of an array in ascending order, with the weight of each.
#pragma once

#include <cstddef>
#include <vector>

namespace tersor::codebook {

struct SortedPoints {
  std::vector<double> value;   // strictly ascending; -0 counts as 0
  std::vector<double> weight;  // > 0

  std::size_t size() const { return value.size(); }
};

// Of x[0..n), each with weights[i] (null: 1); entries of weight 0 are left out, and with
// `skip_zeros` those of value 0. Values are finite, weights finite and >= 0.
SortedPoints sort_points(const float* x, const float* weights, std::size_t n, bool skip_zeros);
SortedPoints sort_points(const double* x, const float* weights, std::size_t n, bool skip_zeros);

}  // namespace tersor::codebook
