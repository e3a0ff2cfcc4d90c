// Division by a number that is known when a kernel starts: a multiplication and a shift instead of
// tens of instructions (Granlund and Montgomery 1994, "Division by Invariant Integers using
// Multiplication", figure 4.1).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tersor::cuda {

// Of numbers below 2^31 by 1 <= d < 2^31.
struct Divider {
  std::uint32_t divisor = 1, multiplier = 0, shift = 0;

  Divider() = default;
  explicit Divider(std::uint32_t d) : divisor(d) {
    while (shift < 31 && (std::uint32_t{1} << shift) < d) ++shift;
    // d <= 2^shift < 2 d, so the multiplier fits 32 bits.
    multiplier = static_cast<std::uint32_t>(
        ((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ std::uint32_t divide(std::uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;
  }
};

}  // namespace tersor::cuda
