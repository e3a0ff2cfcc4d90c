// A histogram of companded values: one pass of a dozen vector instructions and one counter.
//
//   y = x - centre, t = y / (reach + |y|), bin = trunc(half * t + half)      in float32
//
// t rises with x from -1 to 1, so bins are narrowest at the centre and widen with the square of the
// distance: near the best density (bins.h) for bell-shaped values. Counts alone are kept, and a bin
// stands for its values by the middle of its edges. That is wrong by at most half a width, which
// means something where values are discrete or far out; bins.h is for these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/codebook/bins.h"

namespace tersor::codebook {

struct Compander {
  float centre = 0;
  float reach = 0;  // > 0
  float half = 0;   // bins of each side, an integer below 2^20

  std::size_t bins() const { return 2 * static_cast<std::size_t>(half); }
  std::size_t bin(float x) const;  // of a finite x
  // Where bin b begins; infinite for the first one.
  double edge(std::size_t b) const;
};

// ++counts[bin], of 2 * half + 2: the last but one where t is rounded to 1, the last one for what
// is not finite. *zeros = values that are 0. n < 2^31.
using count_companded_sig = void(const float* x, std::size_t n, const Compander& compander,
                                 uint32_t* counts, uint32_t* zeros) noexcept;

struct CompandedCounts {
  Compander compander;
  std::vector<uint32_t> counts;  // [bins]; empty where values do not suit this form
  std::size_t zeros = 0;
};

// On the pool; the same for any number of threads. n < 2^31.
CompandedCounts count_companded(const float* x, std::size_t n, uint32_t half);
// With `skip_zeros`, zeros are left out.
Bins companded_bins(const CompandedCounts& counted, bool skip_zeros);

}  // namespace tersor::codebook
