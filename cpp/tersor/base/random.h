// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A value depends on (seed, stream, index) alone, so any thread can draw any
// part of a sequence and the result is the same for every number of threads.
#pragma once

#include <array>
#include <cstdint>

namespace tersor {

class Philox {
 public:
  explicit constexpr Philox(std::uint64_t seed, std::uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  // Four independent uniform 32-bit words; `index` counts blocks of four.
  constexpr std::array<std::uint32_t, 4> block(std::uint64_t index) const {
    // Multipliers and key increments: ibid., table 2 and section 4.3.
    constexpr std::uint64_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    std::uint32_t c0 = low(index), c1 = high(index), c2 = low(stream_), c3 = high(stream_);
    std::uint32_t k0 = low(seed_), k1 = high(seed_);
    for (int round = 0; round < 10; ++round, k0 += kWeyl0, k1 += kWeyl1) {
      const std::uint64_t p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
      c0 = high(p1) ^ c1 ^ k0;
      c1 = low(p1);
      c2 = high(p0) ^ c3 ^ k1;
      c3 = low(p0);
    }
    return {c0, c1, c2, c3};
  }

  // Word number `index` of the sequence.
  constexpr std::uint32_t word(std::uint64_t index) const { return block(index / 4)[index % 4]; }

  // Uniform in [0, 1), a multiple of 2^-24.
  constexpr float uniform(std::uint64_t index) const {
    return static_cast<float>(word(index) >> 8) * 0x1p-24f;
  }

  // Uniform in [0, bound), by multiplication (bias below bound / 2^32).
  constexpr std::uint32_t below(std::uint64_t index, std::uint32_t bound) const {
    return static_cast<std::uint32_t>(std::uint64_t{word(index)} * bound >> 32);
  }

 private:
  static constexpr std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
  static constexpr std::uint32_t high(std::uint64_t v) {
    return static_cast<std::uint32_t>(v >> 32);
  }
  std::uint64_t seed_;
  std::uint64_t stream_;
};

}  // namespace tersor
