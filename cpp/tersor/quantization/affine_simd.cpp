// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Adding 1.5 * 2^23 leaves round-half-even(v) in the low mantissa bits for |v| < 2^22: one addition
// instead of a conversion, and it vectorises without SSE4.1.
constexpr float kMagic = 12582912.0f;
constexpr std::int32_t kMagicBits = 0x4B400000;

inline std::int8_t quantize_one(float x, float scale, std::int32_t zero_point, float low,
                                float high) {
  float v = x / scale;
  v = v == v ? v : 0.0f;
  v = v < low ? low : v;
  v = v > high ? high : v;
  const std::int32_t code = __builtin_bit_cast(std::int32_t, v + kMagic) - kMagicBits;
  return static_cast<std::int8_t>(code + zero_point);
}

}  // namespace

void TERSOR_SIMD_NAME(quantize_affine)(const float* __restrict x, std::int8_t* __restrict q,
                                       std::size_t n, float scale, std::int32_t zero_point,
                                       std::int32_t lo, std::int32_t hi) noexcept {
  const float low = static_cast<float>(lo - zero_point), high = static_cast<float>(hi - zero_point);
  for (std::size_t i = 0; i < n; ++i) q[i] = quantize_one(x[i], scale, zero_point, low, high);
}

void TERSOR_SIMD_NAME(dequantize_affine)(const std::int8_t* __restrict q, float* __restrict y,
                                         std::size_t n, float scale,
                                         std::int32_t zero_point) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = static_cast<float>(q[i] - zero_point) * scale;
}

void TERSOR_SIMD_NAME(quantize_affine_columns)(const float* __restrict x, std::int8_t* __restrict q,
                                               std::size_t rows, std::size_t columns,
                                               const float* __restrict scale,
                                               const std::int32_t* __restrict zero_point,
                                               std::int32_t lo, std::int32_t hi) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += columns, q += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int32_t z = zero_point[c];
      q[c] =
          quantize_one(x[c], scale[c], z, static_cast<float>(lo - z), static_cast<float>(hi - z));
    }
  }
}

void TERSOR_SIMD_NAME(dequantize_affine_columns)(
    const std::int8_t* __restrict q, float* __restrict y, std::size_t rows, std::size_t columns,
    const float* __restrict scale, const std::int32_t* __restrict zero_point) noexcept {
  for (std::size_t r = 0; r < rows; ++r, q += columns, y += columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      y[c] = static_cast<float>(q[c] - zero_point[c]) * scale[c];
    }
  }
}

}  // namespace tersor::quantization
