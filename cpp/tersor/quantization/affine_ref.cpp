#include <algorithm>
#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void quantize_affine_ref(const float* x, std::int8_t* q, std::size_t n, float scale,
                         std::int32_t zero_point, std::int32_t lo, std::int32_t hi) noexcept {
  const float low = static_cast<float>(lo - zero_point), high = static_cast<float>(hi - zero_point);
  for (std::size_t i = 0; i < n; ++i) {
    const float v = x[i] / scale;
    // Clamped before the cast: casting an out-of-range float is undefined behaviour.
    const float r = std::isnan(v) ? 0.0f : std::nearbyintf(std::clamp(v, low, high));
    q[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(r) + zero_point);
  }
}

void dequantize_affine_ref(const std::int8_t* q, float* y, std::size_t n, float scale,
                           std::int32_t zero_point, std::uint8_t flip) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t code = static_cast<std::int8_t>(q[i] ^ flip) + flip;
    y[i] = static_cast<float>(code - zero_point) * scale;
  }
}

void quantize_affine_columns_ref(const float* x, std::int8_t* q, std::size_t rows,
                                 std::size_t columns, const float* scale,
                                 const std::int32_t* zero_point, std::int32_t lo,
                                 std::int32_t hi) noexcept {
  for (std::size_t i = 0; i < rows * columns; ++i) {
    const std::size_t c = i % columns;
    quantize_affine_ref(x + i, q + i, 1, scale[c], zero_point[c], lo, hi);
  }
}

void dequantize_affine_columns_ref(const std::int8_t* q, float* y, std::size_t rows,
                                   std::size_t columns, const float* scale,
                                   const std::int32_t* zero_point, std::uint8_t flip) noexcept {
  for (std::size_t i = 0; i < rows * columns; ++i) {
    const std::size_t c = i % columns;
    dequantize_affine_ref(q + i, y + i, 1, scale[c], zero_point[c], flip);
  }
}

}  // namespace tersor::quantization
