// bfloat16 logits: rows are widened to float32 in cache, and the gradient is narrowed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::distillation {

// y[i] = x[i], exact.
using widen_bfloat16_sig = void(const std::uint16_t* x, float* y, std::size_t n) noexcept;
// y[i] = the bfloat16 nearest to x[i], ties to even; NaN stays NaN. Bit-exact in all variants.
using narrow_bfloat16_sig = void(const float* x, std::uint16_t* y, std::size_t n) noexcept;

}  // namespace tersor::distillation
