// Distributions that lean: one base distribution of up to 16 ordered symbols, tilted by two
// parameters.
//
//   p(s | a, b) ~ base(s) * exp(a * size(s) + b * side(s))
//
// size is the distance of a symbol from the centre and side its signed distance, both standardised
// over the base distribution: a says whether weights are large here, b where they lean. This is an
// exponential family, so that the gradient of the code length is (size(s) - mean of size): what a
// coder needs to learn a and b while it codes. Everything is integer arithmetic: the decoder must
// compute the same bits on every machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tersor::coding {

inline constexpr int kMostTilted = 16;     // symbols
inline constexpr int kTiltPrecision = 15;  // frequencies sum to 2^15
inline constexpr int kParameterBits = 16;  // a and b have so many fractional bits
inline constexpr int kStatisticBits = 8;   // size and side
inline constexpr int kErrorBits = 12;

// A distribution for rounded a and b.
struct TiltLevel {
  // First slot of each symbol; 2^15 from the number of symbols on.
  std::array<uint16_t, kMostTilted + 1> start;
  // Statistic minus mean is the error; times this, divided by the variance (8 fractional bits).
  int16_t mean_size, mean_side;
  uint16_t gain_size, gain_side;
};

class Tilt {
 public:
  // base[s] > 0 where a symbol occurs, below 2^16. `both`: b is used too. The parameters are
  // rounded to 2^-step.
  Tilt(const std::vector<uint32_t>& base, const std::vector<int32_t>& place, int32_t centre,
       bool both, int step);

  const TiltLevel& level(int32_t a, int32_t b) {
    const size_t i = index(a) * columns_ + (both_ ? index(b) : 0);
    if (!ready_[i]) [[unlikely]]
      build(i);
    return levels_[i];
  }
  int32_t size_of(size_t s) const { return size_[s]; }
  int32_t side_of(size_t s) const { return side_[s]; }
  // Gradient over curvature: how far, at most 8, to move the parameter at once.
  int32_t size_error(const TiltLevel& l, size_t s) const {
    return error(size_[s] - l.mean_size, l.gain_size);
  }
  int32_t side_error(const TiltLevel& l, size_t s) const {
    return error(side_[s] - l.mean_side, l.gain_side);
  }

 private:
  static constexpr int kLevels = 24;  // each way from 0: 6 standard deviations at a step of 1/4

  static int32_t error(int32_t difference, uint16_t gain) {
    const int32_t e = (difference * gain) >> 8;
    constexpr int32_t most = (1 << (kErrorBits + 3)) - 1;
    return e < -most ? -most : e > most ? most : e;
  }
  size_t index(int32_t v) const {
    const int32_t q = (v + half_) >> shift_;
    return static_cast<size_t>((q < -most_ ? -most_ : q > most_ ? most_ : q) + most_);
  }
  void build(size_t i);

  std::vector<uint32_t> base_;
  std::array<int32_t, kMostTilted> size_{}, side_{};
  bool both_;
  int shift_, step_;
  int32_t half_, most_;
  size_t columns_;
  std::vector<uint8_t> ready_;
  std::unique_ptr<TiltLevel[]> levels_;
};

// 2^(-x / 4096) for x >= 0, with 32 fractional bits; 0 where it is too small to tell.
uint64_t power_of_half(uint32_t x);
// log2(v) with 12 fractional bits, rounded down; v > 0.
int32_t log2_fixed(uint32_t v);

}  // namespace tersor::coding
