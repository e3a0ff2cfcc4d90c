#include <bit>
#include <cmath>

#include "tersor/pruning/kernels.h"

namespace tersor::pruning {

bool score_keys_ref(const float* x, std::size_t n, bool absolute, std::uint32_t* keys) noexcept {
  bool numbers = true;
  for (std::size_t i = 0; i < n; ++i) {
    numbers = numbers && !std::isnan(x[i]);
    const auto bits = std::bit_cast<std::uint32_t>(absolute ? std::fabs(x[i]) : x[i] + 0.0f);
    // Of negative floats, the larger bits are the smaller number.
    keys[i] = absolute ? bits : bits >> 31 ? ~bits : bits | 0x80000000u;
  }
  return numbers;
}

std::size_t mask_above_ref(const std::uint32_t* keys, std::size_t n, std::uint32_t least,
                           std::uint8_t* mask) noexcept {
  std::size_t ties = 0;
  for (std::size_t i = 0; i < n; ++i) {
    mask[i] = keys[i] > least;
    ties += keys[i] == least;
  }
  return ties;
}

}  // namespace tersor::pruning
