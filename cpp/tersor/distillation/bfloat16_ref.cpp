#include <bit>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

void widen_bfloat16_ref(const std::uint16_t* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = std::bit_cast<float>(static_cast<std::uint32_t>(x[i]) << 16);
  }
}

void narrow_bfloat16_ref(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]);
    const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    y[i] = static_cast<std::uint16_t>(x[i] != x[i] ? bits >> 16 | 0x40 : rounded);
  }
}

}  // namespace tersor::distillation
