#include "tersor/coding/tilt.h"

#include <algorithm>
#include <bit>

namespace tersor::coding {
namespace {

// 2^(-i / 256) with 32 fractional bits, by repeated multiplication in 62 bits: no floating point,
// whose rounding could differ between compilers.
constexpr std::array<uint64_t, 256> kPowers = [] {
  std::array<uint64_t, 256> table{};
  // 2^(-1/256) = 0.99729605608547012625765...
  constexpr uint64_t kFactor = 4283353945;
  uint64_t v = uint64_t{1} << 32;
  for (auto& entry : table) {
    entry = v;
    v = (v * kFactor + (uint64_t{1} << 31)) >> 32;
  }
  return table;
}();

uint32_t square_root(uint64_t v) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 31; bit; bit >>= 1) {
    if ((root + bit) * (root + bit) <= v) root += bit;
  }
  return static_cast<uint32_t>(root);
}

// Mean 0 and standard deviation 1 over the base distribution.
void standardise(const std::vector<uint32_t>& base, std::array<int32_t, kMostTilted>& statistic) {
  int64_t total = 0, sum = 0, squares = 0;
  for (size_t s = 0; s < base.size(); ++s) {
    total += base[s];
    sum += static_cast<int64_t>(base[s]) * statistic[s];
    squares += static_cast<int64_t>(base[s]) * statistic[s] * statistic[s];
  }
  const int64_t mean = 256 * sum / total;
  const int64_t variance = std::max<int64_t>(65536 * squares / total - mean * mean, 1);
  const int64_t deviation = square_root(static_cast<uint64_t>(variance));  // 8 fractional bits
  for (size_t s = 0; s < base.size(); ++s) {
    const int64_t scaled = 256 * (256 * static_cast<int64_t>(statistic[s]) - mean) / deviation;
    statistic[s] = static_cast<int32_t>(std::clamp<int64_t>(scaled, -2047, 2047));
  }
}

}  // namespace

uint64_t power_of_half(uint32_t x) {
  const uint32_t whole = x >> 12;
  return whole > 31 ? 0 : kPowers[(x & 4095) >> 4] >> whole;
}

int32_t log2_fixed(uint32_t v) {
  const int whole = std::bit_width(v) - 1;
  uint64_t x = static_cast<uint64_t>(v) << (31 - whole);  // [1, 2) with 31 fractional bits
  int32_t log = whole;
  for (int i = 0; i < 12; ++i) {  // squaring doubles the logarithm
    x = (x * x) >> 31;
    const bool carry = x >> 32;
    log = 2 * log + carry;
    x >>= carry;
  }
  return log;
}

Tilt::Tilt(const std::vector<uint32_t>& base, const std::vector<int32_t>& place, int32_t centre,
           bool both, int step)
    : base_(base), both_(both), shift_(kParameterBits - step), step_(step) {
  half_ = 1 << (shift_ - 1);
  most_ = kLevels;
  columns_ = both ? static_cast<size_t>(2 * most_ + 1) : 1;
  for (size_t s = 0; s < base.size(); ++s) {
    side_[s] = place[s] - centre;
    size_[s] = std::abs(side_[s]);
  }
  standardise(base_, size_);
  standardise(base_, side_);
  const size_t levels = static_cast<size_t>(2 * most_ + 1) * columns_;
  ready_.assign(levels, 0);
  levels_.reset(new TiltLevel[levels]);
}

void Tilt::build(size_t i) {
  const size_t n = base_.size();
  const int32_t a = static_cast<int32_t>(i / columns_) - most_;
  const int32_t b = both_ ? static_cast<int32_t>(i % columns_) - most_ : 0;
  // log2(e) * 4096 / 256 = 23.0831, in steps of the level.
  constexpr int32_t kLog2E = 23637;  // 10 fractional bits
  std::array<int32_t, kMostTilted> exponent;
  int32_t highest = INT32_MIN;
  for (size_t s = 0; s < n; ++s) {
    exponent[s] = static_cast<int32_t>(
        (static_cast<int64_t>(a * size_[s] + b * side_[s]) * kLog2E) >> (10 + step_));
    if (base_[s]) highest = std::max(highest, exponent[s]);
  }
  std::array<uint64_t, kMostTilted> weight;
  uint64_t total = 0, used = 0;
  for (size_t s = 0; s < n; ++s) {
    weight[s] =
        base_[s] ? base_[s] * power_of_half(static_cast<uint32_t>(highest - exponent[s])) : 0;
    total += weight[s];
    used += base_[s] != 0;
  }
  TiltLevel& level = levels_[i];
  // 28 bits of the weights, so that a product with 2^15 and the sums fit comfortably.
  const int cut = std::max(0, static_cast<int>(std::bit_width(total)) - 40);
  const uint64_t spare = (uint64_t{1} << kTiltPrecision) - used;
  std::array<uint32_t, kMostTilted> f{};
  uint32_t sum = 0;
  size_t largest = 0;
  for (size_t s = 0; s < n; ++s) {
    if (base_[s]) f[s] = 1 + static_cast<uint32_t>((weight[s] >> cut) * spare / (total >> cut));
    sum += f[s];
    if (f[s] > f[largest]) largest = s;
  }
  f[largest] += (1u << kTiltPrecision) - sum;
  uint32_t at = 0;
  int64_t size = 0, sizes = 0, side = 0, sides = 0;
  for (size_t s = 0; s <= kMostTilted; ++s) {
    level.start[s] = static_cast<uint16_t>(at);
    if (s >= n) continue;
    at += f[s];
    size += static_cast<int64_t>(f[s]) * size_[s];
    sizes += static_cast<int64_t>(f[s]) * size_[s] * size_[s];
    side += static_cast<int64_t>(f[s]) * side_[s];
    sides += static_cast<int64_t>(f[s]) * side_[s] * side_[s];
  }
  // A curvature of at least a quarter of the base's: steps stay bounded where nothing varies.
  const auto gain = [](int64_t sum1, int64_t sum2) {
    const int64_t mean = sum1 >> kTiltPrecision;
    const int64_t variance = (sum2 >> kTiltPrecision) - mean * mean;
    return static_cast<uint16_t>((int64_t{1} << 28) / std::max<int64_t>(variance, 1 << 14));
  };
  level.mean_size = static_cast<int16_t>(size >> kTiltPrecision);
  level.mean_side = static_cast<int16_t>(side >> kTiltPrecision);
  level.gain_size = gain(size, sizes);
  level.gain_side = gain(side, sides);
  ready_[i] = 1;
}

}  // namespace tersor::coding
