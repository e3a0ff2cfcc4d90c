// Affine (scale, zero-point) quantization of float32 to int8 codes and back.
//
//   q = clamp(round_half_even(x / scale) + zero_point, lo, hi)
//   y = (q - zero_point) * scale
//
// in float32: the quotient is the correctly rounded one (a multiplication by 1 / scale moves
// codes), sums of codes are exact. NaN becomes zero_point, infinities lo and hi. Every variant is
// bit-exact with affine_ref.cpp. Buffers may not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::quantization {

// One scale for n elements.
using quantize_affine_sig = void(const float* x, std::int8_t* q, std::size_t n, float scale,
                                 std::int32_t zero_point, std::int32_t lo,
                                 std::int32_t hi) noexcept;
using dequantize_affine_sig = void(const std::int8_t* q, float* y, std::size_t n, float scale,
                                   std::int32_t zero_point) noexcept;

// One scale per column of a row-major matrix (channels last).
using quantize_affine_columns_sig = void(const float* x, std::int8_t* q, std::size_t rows,
                                         std::size_t columns, const float* scale,
                                         const std::int32_t* zero_point, std::int32_t lo,
                                         std::int32_t hi) noexcept;
using dequantize_affine_columns_sig = void(const std::int8_t* q, float* y, std::size_t rows,
                                           std::size_t columns, const float* scale,
                                           const std::int32_t* zero_point) noexcept;

// A C-contiguous tensor seen as outer x channels x inner, one scale and zero point per channel;
// channels = 1 is per tensor.
struct AffineShape {
  std::size_t outer = 1;
  std::size_t channels = 1;
  std::size_t inner = 1;
};

// Check the parameters (scales finite and > 0; -128 <= lo <= zero_point <= hi <= 127), then run the
// best kernel on the pool. `scale` and `zero_point` have shape.channels elements.
TERSOR_API void quantize_affine(const float* x, std::int8_t* q, AffineShape shape,
                                const float* scale, const std::int32_t* zero_point,
                                std::int32_t lo = -128, std::int32_t hi = 127);
TERSOR_API void dequantize_affine(const std::int8_t* q, float* y, AffineShape shape,
                                  const float* scale, const std::int32_t* zero_point);

}  // namespace tersor::quantization
