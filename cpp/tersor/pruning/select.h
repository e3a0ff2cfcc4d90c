// Masks of the highest scores, with exact counts.
//
// Of equal scores the one with the lower index is kept (of several tensors: the earlier tensor), so
// masks depend on neither the number of threads nor the instruction set. mask is 1 for kept
// entries, else 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::pruning {

// n - round_half_even(sparsity * n): how many of n entries a sparsity in [0, 1] keeps. ValueError,
// naming the operation, for any other sparsity.
TERSOR_API std::size_t kept_count(const char* operation, std::size_t n, double sparsity);

struct ScoredTensor {
  const float* scores;
  std::size_t n;
  std::uint8_t* mask;
};

// The `kept` highest scores of all tensors together, by magnitude if `absolute`. Linear time: a
// sample tells a range that holds the threshold (a histogram of the leading bits where it does
// not), then a selection among the scores in that range. ValueError, naming the operation, if a
// score is NaN; kept <= the sum of n.
TERSOR_API void keep_highest(const char* operation, const std::vector<ScoredTensor>& tensors,
                             std::size_t kept, bool absolute);

// The same for every row of scores[rows][columns] on its own.
TERSOR_API void keep_highest_of_rows(const char* operation, const float* scores, std::size_t rows,
                                     std::size_t columns, std::size_t kept, bool absolute,
                                     std::uint8_t* mask);

}  // namespace tersor::pruning
