// Frequencies of bytes from a few numbers: their logarithms are straight between knots.
//
//   the symbol with what is left: 8   log2 of the step between knots: 3 (0..5)   r: 2   k: 2
//   levels of the knots low, low + step, ... up to the first one that is not below high, in
//   Exp-Golomb of order k: zigzag(level - the one before)      (at first 0)
//
// i symbols behind a knot of level a, before one of level b, in whole numbers:
//   e = (a * (step - i) + b * i) * 32 / (step * 2^r)
//   frequency = (round(2^(15 + e mod 32 / 32)) * 2^(e / 32)) / 2^15 - 1
// so that level 0 is no frequency and 2^r levels double it. The symbol with what is left has the
// rest of 2^precision, at least 1. A table of 255 symbols takes some 25 bytes instead of 85.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/coding/bit_stream.h"
#include "tersor/coding/frequencies.h"

namespace tersor::coding {

struct SmoothTable {
  size_t rest = 0;  // the symbol with what is left
  int log_step = 0;
  int log_levels = 0;  // r
  std::vector<uint32_t> levels;
};

// The table of fewest bits, its own and those of the symbols, of those that this form can have; no
// levels where none can code all symbols.
SmoothTable smooth_table(const Histogram& counts, size_t low, size_t high, int precision);
void put_smooth(const SmoothTable& table, BitWriter& out);
// ArtifactError where no frequencies result.
SmoothTable get_smooth(size_t low, size_t high, int precision, BitReader& in);
Frequencies smooth_frequencies(const SmoothTable& table, size_t low, size_t high, int precision);

}  // namespace tersor::coding
