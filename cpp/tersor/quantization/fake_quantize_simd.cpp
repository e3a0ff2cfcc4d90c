#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

// Adding and taking off 1.5 * 2^23 rounds |v| < 2^22 to nearest even, and makes -0 a +0.
static constexpr float kRound = 12582912.0f;
static constexpr std::size_t kBlock = 64;

namespace {
struct Rounded {
  float y;
  std::int32_t inside;
};
}  // namespace

static inline Rounded rounded(float x, float scale, float zero, float low, float high) {
  const float steps = x / scale;
  const bool ordered = steps == steps;
  float v = ordered ? steps + zero : zero;
  v = v < low - 1 ? low - 1 : v;
  v = v > high + 1 ? high + 1 : v;
  const float r = (v + kRound) - kRound;
  float c = r < low ? low : r;
  c = c > high ? high : c;
  return {((c + 0.0f) - zero) * scale, (c == r) & ordered};
}

static inline std::uint8_t packed(const std::int32_t* inside) {
  std::int32_t byte = 0;
  for (std::size_t j = 0; j < 8; ++j) byte |= inside[j] << j;
  return static_cast<std::uint8_t>(byte);
}

// parameters(i) calls rounded() with those of element i.
template <class Element>
static inline void blocks(float* y, std::uint8_t* mask, std::size_t n, const Element& element) {
  if (!mask) {
    for (std::size_t i = 0; i < n; ++i) y[i] = element(i).y;
    return;
  }
  std::size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    std::int32_t inside[kBlock];
    for (std::size_t j = 0; j < kBlock; ++j) {
      const Rounded e = element(i + j);
      y[i + j] = e.y;
      inside[j] = e.inside;
    }
    for (std::size_t j = 0; j < kBlock; j += 8) mask[(i + j) / 8] = packed(inside + j);
  }
  for (; i < n; i += 8) {
    std::int32_t inside[8] = {};
    for (std::size_t j = 0; j < 8 && i + j < n; ++j) {
      const Rounded e = element(i + j);
      y[i + j] = e.y;
      inside[j] = e.inside;
    }
    mask[i / 8] = packed(inside);
  }
}

void TERSOR_SIMD_NAME(fake_quantize)(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                                     float scale, float zero, float low, float high) noexcept {
  blocks(y, mask, n, [=](std::size_t i) { return rounded(x[i], scale, zero, low, high); });
}

void TERSOR_SIMD_NAME(fake_quantize_each)(const float* x, float* y, std::uint8_t* mask,
                                          std::size_t n, const float* scale, const float* zero,
                                          const float* low, const float* high) noexcept {
  blocks(y, mask, n,
         [=](std::size_t i) { return rounded(x[i], scale[i], zero[i], low[i], high[i]); });
}

void TERSOR_SIMD_NAME(fake_quantize_backward)(const float* dy, const std::uint8_t* mask, float* dx,
                                              std::size_t n) noexcept {
  static constexpr std::int32_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const std::int32_t byte = mask[i / 8];
    for (std::size_t j = 0; j < 8; ++j) dx[i + j] = (byte & kBits[j]) ? dy[i + j] : 0;
  }
  for (; i < n; ++i) dx[i] = mask[i / 8] >> (i % 8) & 1 ? dy[i] : 0;
}

}  // namespace tersor::quantization
