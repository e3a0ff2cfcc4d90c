#include <algorithm>
#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void fake_quantize_ref(const float* x, float* y, std::uint8_t* mask, std::size_t n, float scale,
                       float zero, float low, float high) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const float steps = x[i] / scale;
    const float v = std::isnan(steps) ? zero : steps + zero;
    // Rounding a value clamped one step further gives the same c and the same mask.
    const float r = std::nearbyintf(std::clamp(v, low - 1, high + 1));
    const bool inside = low <= r && r <= high && !std::isnan(steps);
    // + 0: a code of 0 is +0.
    y[i] = ((std::clamp(r, low, high) + 0.0f) - zero) * scale;
    if (!mask) continue;
    if (i % 8 == 0) mask[i / 8] = 0;
    mask[i / 8] = static_cast<std::uint8_t>(mask[i / 8] | (inside ? 1u << (i % 8) : 0u));
  }
}

void fake_quantize_each_ref(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                            const float* scale, const float* zero, const float* low,
                            const float* high) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint8_t bit = 0;
    fake_quantize_ref(x + i, y + i, &bit, 1, scale[i], zero[i], low[i], high[i]);
    if (!mask) continue;
    if (i % 8 == 0) mask[i / 8] = 0;
    mask[i / 8] = static_cast<std::uint8_t>(mask[i / 8] | bit << (i % 8));
  }
}

void fake_quantize_backward_ref(const float* dy, const std::uint8_t* mask, float* dx,
                                std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) dx[i] = mask[i / 8] >> (i % 8) & 1 ? dy[i] : 0;
}

}  // namespace tersor::quantization
