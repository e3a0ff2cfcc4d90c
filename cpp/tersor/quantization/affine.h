// Affine (scale, zero-point) quantization of float32 to 8-bit codes and back.
//
//   q = clamp(round_half_even(x / scale) + zero_point, lo, hi)
//   y = (q - zero_point) * scale
//
// in float32: the quotient is the correctly rounded one (a multiplication by 1 / scale moves
// codes), sums of codes are exact. NaN becomes zero_point, infinities lo and hi. Every variant is
// bit-exact with affine_ref.cpp. Buffers may not overlap.
//
// Codes are int8, or uint8 where they reach beyond 127: both are written as bytes modulo 256.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/tensor/shape.h"

namespace tersor::quantization {

// One scale for n elements. -128 <= lo <= zero_point <= hi <= 127, or 0 <= lo and hi <= 255.
using quantize_affine_sig = void(const float* x, std::int8_t* q, std::size_t n, float scale,
                                 std::int32_t zero_point, std::int32_t lo,
                                 std::int32_t hi) noexcept;
// The code is int8(q ^ flip) + flip: flip = 0 for int8, 128 for uint8.
using dequantize_affine_sig = void(const std::int8_t* q, float* y, std::size_t n, float scale,
                                   std::int32_t zero_point, std::uint8_t flip) noexcept;

// One scale per column of a row-major matrix (channels last).
using quantize_affine_columns_sig = void(const float* x, std::int8_t* q, std::size_t rows,
                                         std::size_t columns, const float* scale,
                                         const std::int32_t* zero_point, std::int32_t lo,
                                         std::int32_t hi) noexcept;
using dequantize_affine_columns_sig = void(const std::int8_t* q, float* y, std::size_t rows,
                                           std::size_t columns, const float* scale,
                                           const std::int32_t* zero_point,
                                           std::uint8_t flip) noexcept;

// A C-contiguous tensor seen as outer x channels x inner. group = 0: one scale per channel, for all
// of outer and inner; channels = 1 is per tensor. group > 0: one scale per group of so many
// consecutive channels (the last may be short) at each place of outer and inner, which lie as
// [outer][groups][inner].
struct AffineShape {
  std::size_t outer = 1;
  std::size_t channels = 1;
  std::size_t inner = 1;
  std::size_t group = 0;

  std::size_t size() const { return outer * channels * inner; }
  std::size_t groups() const { return group ? (channels + group - 1) / group : channels; }
  std::size_t scales() const { return group ? outer * groups() * inner : channels; }
  // Index of the scale of the flat element i.
  std::size_t scale_of(std::size_t i) const {
    const std::size_t c = i / inner % channels;
    if (group == 0) return c;
    return (i / inner / channels * groups() + c / group) * inner + i % inner;
  }
};

// The axes along which scales differ: `axis_count` consecutive ones from `axis` on, flattened
// together. axis < 0: one scale for the tensor. group_size > 0: groups along them.
struct ScaleAxes {
  int axis = -1;
  int axis_count = 1;
  int group_size = 0;
};
// ValueError "<what>: ..." if the axes are not axes of the shape, or a group has none.
TERSOR_API AffineShape affine_shape(const Shape& shape, ScaleAxes axes, const char* what);

// Check the parameters (scales finite and > 0; codes as above), then run the best kernel on the
// pool. `scale` and `zero_point` have shape.scales() elements. Codes are uint8 if hi > 127,
// respectively if `is_unsigned`.
TERSOR_API void quantize_affine(const float* x, std::int8_t* q, AffineShape shape,
                                const float* scale, const std::int32_t* zero_point,
                                std::int32_t lo = -128, std::int32_t hi = 127);
TERSOR_API void dequantize_affine(const std::int8_t* q, float* y, AffineShape shape,
                                  const float* scale, const std::int32_t* zero_point,
                                  bool is_unsigned = false);

}  // namespace tersor::quantization
