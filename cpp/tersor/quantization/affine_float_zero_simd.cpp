#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

// Adding 1.5 * 2^23 leaves round-half-even(v) in the low mantissa bits for |v| < 2^22, here a code.
static constexpr float kMagic = 12582912.0f;
static constexpr std::int32_t kMagicBits = 0x4B400000;

static inline std::int8_t code_of(float x, float scale, float zero_point, float low, float high) {
  const float steps = x / scale;
  float v = steps == steps ? steps + zero_point : zero_point;
  v = v < low ? low : v;
  v = v > high ? high : v;
  return static_cast<std::int8_t>(__builtin_bit_cast(std::int32_t, v + kMagic) - kMagicBits);
}

static inline float value_of(std::int8_t q, float scale, float zero_point, std::uint8_t flip) {
  const std::int32_t code = static_cast<std::int8_t>(q ^ flip) + flip;
  return (static_cast<float>(code) - zero_point) * scale;
}

void TERSOR_SIMD_NAME(quantize_float_zero)(const float* __restrict x, std::int8_t* __restrict q,
                                           std::size_t n, float scale, float zero_point,
                                           std::int32_t lo, std::int32_t hi) noexcept {
  const auto low = static_cast<float>(lo), high = static_cast<float>(hi);
  for (std::size_t i = 0; i < n; ++i) q[i] = code_of(x[i], scale, zero_point, low, high);
}

void TERSOR_SIMD_NAME(dequantize_float_zero)(const std::int8_t* __restrict q, float* __restrict y,
                                             std::size_t n, float scale, float zero_point,
                                             std::uint8_t flip) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = value_of(q[i], scale, zero_point, flip);
}

void TERSOR_SIMD_NAME(quantize_float_zero_columns)(const float* __restrict x,
                                                   std::int8_t* __restrict q, std::size_t rows,
                                                   std::size_t columns,
                                                   const float* __restrict scale,
                                                   const float* __restrict zero_point,
                                                   std::int32_t lo, std::int32_t hi) noexcept {
  const auto low = static_cast<float>(lo), high = static_cast<float>(hi);
  for (std::size_t r = 0; r < rows; ++r, x += columns, q += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      q[c] = code_of(x[c], scale[c], zero_point[c], low, high);
    }
  }
}

void TERSOR_SIMD_NAME(dequantize_float_zero_columns)(
    const std::int8_t* __restrict q, float* __restrict y, std::size_t rows, std::size_t columns,
    const float* __restrict scale, const float* __restrict zero_point, std::uint8_t flip) noexcept {
  for (std::size_t r = 0; r < rows; ++r, q += columns, y += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      y[c] = value_of(q[c], scale[c], zero_point[c], flip);
    }
  }
}

}  // namespace tersor::quantization
