// Frequencies of bytes that sum to a power of two, and their compact form (rans.h).
#pragma once

#include <array>
#include <cstdint>

#include "tersor/coding/bit_stream.h"
#include "tersor/coding/histogram.h"

namespace tersor::coding {

using Frequencies = std::array<uint32_t, 256>;

// Each symbol that occurs gets at least 1; what the rounding leaves over goes where it costs least.
// At most 2^precision symbols may occur.
Frequencies scaled_frequencies(const Histogram& counts, int precision);
// Bits of all symbols at these frequencies.
double coded_bits(const Histogram& counts, const Frequencies& frequencies, int precision);

// Frequencies of low..high, of which both occur.
void put_frequencies(const Frequencies& frequencies, size_t low, size_t high, BitWriter& out);
Frequencies get_frequencies(size_t low, size_t high, int precision, BitReader& in);

}  // namespace tersor::coding
