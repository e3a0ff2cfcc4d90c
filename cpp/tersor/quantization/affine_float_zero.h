// Affine quantization whose zero point is a float: for low-bit weights of float activations, where
// four or eight codes are too few to spend on where zero lies. Zero need not be a code.
//
//   q = clamp(round_half_even(x / scale + zero_point), lo, hi)
//   y = (q - zero_point) * scale
//
// in float32, every operation rounded. NaN becomes clamp(round_half_even(zero_point), lo, hi),
// infinities lo and hi. Every variant is bit-exact with affine_float_zero_ref.cpp. Buffers may not
// overlap. Codes as in affine.h.
#pragma once

#include "tersor/quantization/affine.h"

namespace tersor::quantization {

using quantize_float_zero_sig = void(const float* x, std::int8_t* q, std::size_t n, float scale,
                                     float zero_point, std::int32_t lo, std::int32_t hi) noexcept;
using dequantize_float_zero_sig = void(const std::int8_t* q, float* y, std::size_t n, float scale,
                                       float zero_point, std::uint8_t flip) noexcept;
using quantize_float_zero_columns_sig = void(const float* x, std::int8_t* q, std::size_t rows,
                                             std::size_t columns, const float* scale,
                                             const float* zero_point, std::int32_t lo,
                                             std::int32_t hi) noexcept;
using dequantize_float_zero_columns_sig = void(const std::int8_t* q, float* y, std::size_t rows,
                                               std::size_t columns, const float* scale,
                                               const float* zero_point, std::uint8_t flip) noexcept;

// As quantize_affine and dequantize_affine. |zero_point| <= 2^21, so that floats still tell codes
// apart.
TERSOR_API void quantize_float_zero(const float* x, std::int8_t* q, AffineShape shape,
                                    const float* scale, const float* zero_point, std::int32_t lo,
                                    std::int32_t hi);
TERSOR_API void dequantize_float_zero(const std::int8_t* q, float* y, AffineShape shape,
                                      const float* scale, const float* zero_point,
                                      bool is_unsigned);

}  // namespace tersor::quantization
