// Compiled once per instruction set (cmake/instruction_sets.cmake); plain loops vectorise.
#include <stddef.h>
#include <stdint.h>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

void TERSOR_SIMD_NAME(widen_bfloat16)(const uint16_t* __restrict x, float* __restrict y,
                                      size_t n) noexcept {
  for (size_t i = 0; i < n; ++i) {
    y[i] = __builtin_bit_cast(float, static_cast<uint32_t>(x[i]) << 16);
  }
}

void TERSOR_SIMD_NAME(narrow_bfloat16)(const float* __restrict x, uint16_t* __restrict y,
                                       size_t n) noexcept {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x[i]);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    y[i] = static_cast<uint16_t>(x[i] != x[i] ? bits >> 16 | 0x40 : rounded);
  }
}

}  // namespace tersor::distillation
