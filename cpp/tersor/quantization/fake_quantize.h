// Fake quantization: the values that codes would give, in float32, and the gradient through it.
//
//   r = round_half_even(x / scale + zero)      low <= c = clamp(r, low, high) <= high
//   y = (c - zero) * scale                     mask = low <= r <= high
//
// in float32, every operation rounded. With an integer zero point, `zero` is 0 and low and high
// have the zero point taken off: y equals dequantize(quantize(x)) of affine.h bit for bit; with a
// float one (affine_float_zero.h) low and high are codes. A NaN counts as x = 0 with mask 0.
// The straight-through gradient (Bengio et al., 2013) is dx = mask ? dy : 0.
//
// Masks are packed: bit i % 8 of byte i / 8 belongs to element i; unused bits are 0. Every variant
// is bit-exact with fake_quantize_ref.cpp. y may be x, and dx may be dy; no other overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/affine.h"

namespace tersor::quantization {

// One scale for n elements; mask (ceil(n / 8) bytes) may be null.
using fake_quantize_sig = void(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                               float scale, float zero, float low, float high) noexcept;
// One scale for each element.
using fake_quantize_each_sig = void(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                                    const float* scale, const float* zero, const float* low,
                                    const float* high) noexcept;
using fake_quantize_backward_sig = void(const float* dy, const std::uint8_t* mask, float* dx,
                                        std::size_t n) noexcept;

// Parameters as pointers, one per scale of the layout (affine.h).
struct FakeQuantizer {
  const float* scale = nullptr;
  // One of them: integer zero points (null: 0), or float ones, which win. With `rounded`, the float
  // ones are rounded half to even and clamped to [lo, hi] first, and then count as integers.
  const std::int32_t* zero_point = nullptr;
  const float* zero_point_float = nullptr;
  bool rounded = false;
  std::int32_t lo = -128, hi = 127;
};

inline std::size_t mask_bytes(std::size_t n) { return (n + 7) / 8; }

// mask may be null. ValueError if a scale is not finite and > 0, lo > hi or beyond 2^20, or a zero
// point is beyond [lo, hi] (float: not finite, or beyond 2^21).
TERSOR_API void fake_quantize(const float* x, float* y, std::uint8_t* mask,
                              const AffineShape& layout, const FakeQuantizer& q);
struct QParams;
TERSOR_API void fake_quantize(const float* x, float* y, std::uint8_t* mask, const Shape& shape,
                              const QParams& q);
TERSOR_API void fake_quantize_backward(const float* dy, const std::uint8_t* mask, float* dx,
                                       std::size_t n);

}  // namespace tersor::quantization
