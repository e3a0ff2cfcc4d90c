// How often each byte occurs, and what that says about the fewest bits.
//
//   entropy = sum_s p_s log2(1 / p_s) bits a symbol, p_s = count_s / sum of counts; 0 of nothing
//
// No code that looks at one symbol at a time needs fewer bits on average (Shannon 1948).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::coding {

using Histogram = std::array<uint64_t, 256>;

TERSOR_API Histogram histogram(const uint8_t* symbols, size_t count);
TERSOR_API double entropy(const Histogram& counts);

}  // namespace tersor::coding
