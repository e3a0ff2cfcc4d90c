// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/pruning/kernels.h"

namespace tersor::pruning {
namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;

inline std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }

}  // namespace

bool TERSOR_SIMD_NAME(score_keys)(const float* x, std::size_t n, bool absolute,
                                  std::uint32_t* keys) noexcept {
  std::uint32_t nan = 0;
  if (absolute) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t key = bits_of(x[i]) & kMagnitude;
      nan |= kInfinity - key;  // wraps beyond infinity, else the top bit is 0
      keys[i] = key;
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t bits = bits_of(x[i] + 0.0f);
      nan |= kInfinity - (bits & kMagnitude);
      // All bits turned where the sign is set, else the sign alone.
      const auto sign = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);
      keys[i] = bits ^ (sign | 0x80000000u);
    }
  }
  return (nan >> 31) == 0;
}

std::size_t TERSOR_SIMD_NAME(mask_above)(const std::uint32_t* keys, std::size_t n,
                                         std::uint32_t least, std::uint8_t* mask) noexcept {
  std::size_t ties = 0;
  for (std::size_t begin = 0; begin < n; begin += 4096) {
    const std::size_t count = n - begin < 4096 ? n - begin : 4096;
    std::uint32_t equal = 0;  // of 32 bits, as wide as the keys, so that the loop is vectors
    for (std::size_t i = begin; i < begin + count; ++i) {
      mask[i] = keys[i] > least ? 1 : 0;
      equal += keys[i] == least ? 1 : 0;
    }
    ties += equal;
  }
  return ties;
}

}  // namespace tersor::pruning
