// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Adding 1.5 * 2^23 leaves round-half-even(v) in the low mantissa bits for |v| < 2^22: one addition
// instead of a conversion, and it vectorises without SSE4.1.
constexpr float kMagic = 12582912.0f;
constexpr std::int32_t kMagicBits = 0x4B400000;

inline std::int8_t round_to_code(float v, std::int32_t zero_point, float low, float high) {
  v = v == v ? v : 0.0f;
  v = v < low ? low : v;
  v = v > high ? high : v;
  const std::int32_t code = __builtin_bit_cast(std::int32_t, v + kMagic) - kMagicBits;
  return static_cast<std::int8_t>(code + zero_point);
}

// AVX-512 divides 16 floats in 10 (Zen 4) to 16 cycles, twice the rest of the loop, so there the
// quotient is x * r, r = 1 / scale, corrected by its exact remainder. It rounds to the same code as
// the true quotient: compared for all 2^23 mantissas of scale at all 256 ties and two neighbours on
// each side. The exponents do not matter while the remainder, at least 2^-47 * scale, is no
// denormal number. AVX2 divides 8 floats in 5 or 6 cycles, which is hidden: the division is faster
// there.
#if defined(__AVX512F__) || defined(TERSOR_REFINED_QUOTIENT)
#undef TERSOR_REFINED_QUOTIENT
#define TERSOR_REFINED_QUOTIENT 1
constexpr float kLeastScale = 0x1p-79f, kLargestScale = 0x1p100f;

inline float refined_quotient(float x, float scale, float reciprocal, float low, float high) {
  float v = x * reciprocal;
  v = v < low - 1 ? low - 1 : v;  // keeps inf - inf out of the remainder
  v = v > high + 1 ? high + 1 : v;
  return __builtin_fmaf(__builtin_fmaf(-v, scale, x), reciprocal, v);
}
#endif

}  // namespace

void TERSOR_SIMD_NAME(quantize_affine)(const float* __restrict x, std::int8_t* __restrict q,
                                       std::size_t n, float scale, std::int32_t zero_point,
                                       std::int32_t lo, std::int32_t hi) noexcept {
  const float low = static_cast<float>(lo - zero_point), high = static_cast<float>(hi - zero_point);
#if TERSOR_REFINED_QUOTIENT
  if (kLeastScale <= scale && scale <= kLargestScale) {
    const float r = 1.0f / scale;
    for (std::size_t i = 0; i < n; ++i) {
      const float v = refined_quotient(x[i], scale, r, low, high);
      q[i] = round_to_code(v, zero_point, low, high);
    }
    return;
  }
#endif
  for (std::size_t i = 0; i < n; ++i) q[i] = round_to_code(x[i] / scale, zero_point, low, high);
}

void TERSOR_SIMD_NAME(dequantize_affine)(const std::int8_t* __restrict q, float* __restrict y,
                                         std::size_t n, float scale, std::int32_t zero_point,
                                         std::uint8_t flip) noexcept {
  const std::int32_t zero = zero_point - flip;
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = static_cast<float>(static_cast<std::int8_t>(q[i] ^ flip) - zero) * scale;
  }
}

void TERSOR_SIMD_NAME(quantize_affine_columns)(const float* __restrict x, std::int8_t* __restrict q,
                                               std::size_t rows, std::size_t columns,
                                               const float* __restrict scale,
                                               const std::int32_t* __restrict zero_point,
                                               std::int32_t lo, std::int32_t hi) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += columns, q += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int32_t z = zero_point[c];
      const float low = static_cast<float>(lo - z), high = static_cast<float>(hi - z);
      q[c] = round_to_code(x[c] / scale[c], z, low, high);
    }
  }
}

void TERSOR_SIMD_NAME(dequantize_affine_columns)(const std::int8_t* __restrict q,
                                                 float* __restrict y, std::size_t rows,
                                                 std::size_t columns, const float* __restrict scale,
                                                 const std::int32_t* __restrict zero_point,
                                                 std::uint8_t flip) noexcept {
  for (std::size_t r = 0; r < rows; ++r, q += columns, y += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int32_t code = static_cast<std::int8_t>(q[c] ^ flip) + flip;
      y[c] = static_cast<float>(code - zero_point[c]) * scale[c];
    }
  }
}

}  // namespace tersor::quantization
