#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

// All of them work on the bits of the magnitude, without branches. Adding a large power of two
// rounds a number below the normal range to a multiple of the smallest subnormal: the sum's unit in
// the last place. Elsewhere the carry of (half a step - 1 + the last bit kept) rounds to even.
//
// Signed integers, as AVX2 has no unsigned comparisons: magnitudes are below 2^31.

static inline std::int32_t bits_of(float x) { return __builtin_bit_cast(std::int32_t, x); }
static inline float float_of(std::int32_t bits) { return __builtin_bit_cast(float, bits); }

// Codes of `mantissa` mantissa bits and exponent bias `bias`, not looking at NaN and overflow.
// `magnitude` are the bits of |x|.
static inline std::int32_t rounded(std::int32_t magnitude, int mantissa, int bias) {
  const int shift = 23 - mantissa;
  const std::int32_t least_normal = (128 - bias) << 23;
  const std::int32_t half = (1 << (shift - 1)) - 1;
  // Of infinity and NaN, so that the sum stays below 2^31.
  const std::int32_t finite = magnitude < 0x7f800000 ? magnitude : 0x7f800000;
  const std::int32_t normal =
      ((finite + half + ((finite >> shift) & 1)) >> shift) - ((127 - bias) << mantissa);
  // Its unit in the last place is 2^(1 - bias - mantissa).
  const std::int32_t magic = (127 + 24 - bias - mantissa) << 23;
  const std::int32_t small = bits_of(float_of(magnitude) + float_of(magic)) - magic;
  return magnitude < least_normal ? small : normal;
}

void TERSOR_SIMD_NAME(to_float16)(const float* __restrict x, std::uint16_t* __restrict y,
                                  std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t bits = bits_of(x[i]), magnitude = bits & 0x7fffffff;
    std::int32_t code = rounded(magnitude, 10, 15);
    code = code > 0x7c00 ? 0x7c00 : code;
    code = magnitude > 0x7f800000 ? (0x7e00 | ((bits >> 13) & 0x3ff)) : code;
    y[i] = static_cast<std::uint16_t>(code | ((bits >> 16) & 0x8000));
  }
}

void TERSOR_SIMD_NAME(from_float16)(const std::uint16_t* __restrict x, float* __restrict y,
                                    std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const auto sign = static_cast<std::int32_t>(static_cast<std::uint32_t>(x[i] & 0x8000) << 16);
    const std::int32_t code = x[i] & 0x7fff;
    const std::int32_t normal = (code << 13) + (112 << 23);
    const std::int32_t special = (code << 13) | (code > 0x7c00 ? 0x7fc00000 : 0x7f800000);
    const std::int32_t small = bits_of(static_cast<float>(code) * 0x1p-24f);
    std::int32_t bits = code < 0x0400 ? small : normal;
    bits = code >= 0x7c00 ? special : bits;
    y[i] = float_of(bits | sign);
  }
}

void TERSOR_SIMD_NAME(to_bfloat16)(const float* __restrict x, std::uint16_t* __restrict y,
                                   std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const auto bits = __builtin_bit_cast(std::uint32_t, x[i]);
    const std::uint32_t near = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const std::uint32_t nan = ((bits >> 16) & 0x8000) | 0x7fc0;
    y[i] = static_cast<std::uint16_t>(x[i] != x[i] ? nan : near);
  }
}

void TERSOR_SIMD_NAME(from_bfloat16)(const std::uint16_t* __restrict x, float* __restrict y,
                                     std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    y[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(x[i]) << 16);
}

void TERSOR_SIMD_NAME(to_float8_e4m3)(const float* __restrict x, std::uint8_t* __restrict y,
                                      std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t bits = bits_of(x[i]);
    std::int32_t code = rounded(bits & 0x7fffffff, 3, 7);
    code = code > 0x7f ? 0x7f : code;  // NaN and infinity, too
    y[i] = static_cast<std::uint8_t>(code | ((bits >> 24) & 0x80));
  }
}

void TERSOR_SIMD_NAME(from_float8_e4m3)(const std::uint8_t* __restrict x, float* __restrict y,
                                        std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const auto sign = static_cast<std::int32_t>(static_cast<std::uint32_t>(x[i] & 0x80) << 24);
    const std::int32_t code = x[i] & 0x7f;
    const std::int32_t normal = (code << 20) + (120 << 23);
    const std::int32_t small = bits_of(static_cast<float>(code) * 0x1p-9f);
    std::int32_t bits = code < 8 ? small : normal;
    bits = code == 0x7f ? 0x7fc00000 : bits;
    y[i] = float_of(bits | sign);
  }
}

void TERSOR_SIMD_NAME(to_float8_e5m2)(const float* __restrict x, std::uint8_t* __restrict y,
                                      std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t bits = bits_of(x[i]), magnitude = bits & 0x7fffffff;
    std::int32_t code = rounded(magnitude, 2, 15);
    code = code > 0x7c ? 0x7c : code;
    code = magnitude > 0x7f800000 ? 0x7e : code;
    y[i] = static_cast<std::uint8_t>(code | ((bits >> 24) & 0x80));
  }
}

void TERSOR_SIMD_NAME(from_float8_e5m2)(const std::uint8_t* __restrict x, float* __restrict y,
                                        std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const auto sign = static_cast<std::int32_t>(static_cast<std::uint32_t>(x[i] & 0x80) << 24);
    const std::int32_t code = x[i] & 0x7f;
    const std::int32_t normal = (code << 21) + (112 << 23);
    const std::int32_t small = bits_of(static_cast<float>(code) * 0x1p-16f);
    std::int32_t bits = code < 4 ? small : normal;
    bits = code == 0x7c ? 0x7f800000 : bits;
    bits = code > 0x7c ? 0x7fc00000 : bits;
    y[i] = float_of(bits | sign);
  }
}

}  // namespace tersor::quantization
