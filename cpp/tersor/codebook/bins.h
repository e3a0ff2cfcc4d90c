// A histogram whose bins are narrow where it matters, made in one pass over unsorted values.
//
// A value x is looked at as y = x + shift, in float32 (so that -0 becomes 0). The leading 12 bits
// of y (sign, exponent, four bits of mantissa) name one of 8,192 segments, which cover every
// float; segment s has slots[s] bins of equal width, numbered from base[s]. A sample says how many:
// the best density of bins, like that of quantization levels, is that of the values to the power of
// one third (Panter & Dite 1951). Inside a segment y is an integer multiple of its last place, so
// sums are exact integers: they depend neither on the order nor on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::codebook {

inline constexpr uint32_t kSegments = 8192;
inline constexpr uint32_t kMagnitudes = kSegments / 2;  // of each sign
inline constexpr int kRestBits = 19;                    // bits of y below the segment
// Slots of a segment stay below 2^16, so that the product with 16 bits of rest fits 32.
inline constexpr uint32_t kMostSlots = 65535;

struct BinTable {
  float shift = 0;
  uint32_t bins = 0;  // all together
  // First bin of a segment << 32 | its slots: one load for both.
  uint64_t segments[kSegments] = {};

  uint32_t base(uint32_t s) const { return static_cast<uint32_t>(segments[s] >> 32); }
  uint32_t slots(uint32_t s) const { return static_cast<uint32_t>(segments[s]); }
};

// bin = base(s) + ((rest >> 3) * slots(s) >> 16), for y's bits = s << 19 | rest;
// counts[bin] += 1 << 40 | rest. At most 2^20 values a call, so that neither part overflows.
inline constexpr std::size_t kBinBlock = std::size_t{1} << 20;
using count_in_bins_sig = void(const float* x, std::size_t n, const BinTable& table,
                               uint64_t* counts) noexcept;

struct Bins {
  std::vector<double> value;   // weighted mean of a bin's values, ascending strictly
  std::vector<double> weight;  // > 0
  std::vector<double> width;   // of the bin
  bool finite = true;          // no x + shift is NaN or infinite; the rest is empty otherwise
};

// `count` values from all over x[0..n), the same each time; fewer where some are not finite, or
// zeros to be skipped.
std::vector<float> take_sample(const float* x, std::size_t n, std::size_t count, bool skip_zeros);

// About `bins` bins of x[0..n), weighted (null: 1). With `skip_zeros`, zeros are left out. On the
// pool; the same for any number of threads.
Bins make_bins(const float* x, const float* weights, std::size_t n, std::size_t bins,
               bool skip_zeros);

}  // namespace tersor::codebook
