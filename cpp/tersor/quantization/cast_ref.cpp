#include <cmath>

#include "tersor/quantization/kernels.h"
#include "tersor/tensor/half.h"

namespace tersor::quantization {
namespace {

struct Format8 {
  int mantissa, bias;
  std::uint8_t nan;       // what NaN becomes
  std::uint8_t overflow;  // what lies beyond `largest` becomes
  double largest;
};

constexpr Format8 kE4M3 = {3, 7, 0x7f, 0x7f, 448};
constexpr Format8 kE5M2 = {2, 15, 0x7e, 0x7c, 57344};

std::uint8_t narrowed(float x, const Format8& f) {
  const std::uint8_t sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return sign | f.nan;
  const double magnitude = std::fabs(static_cast<double>(x));
  if (magnitude > 4 * f.largest) return sign | f.overflow;
  // Steps of the binade, or of the subnormal numbers below the first one.
  const int exponent = magnitude > 0 ? std::max(std::ilogb(magnitude), 1 - f.bias) : 1 - f.bias;
  const double steps = std::nearbyint(std::ldexp(magnitude, f.mantissa - exponent));
  if (std::ldexp(steps, exponent - f.mantissa) > f.largest) return sign | f.overflow;
  // Codes count through the binades: a carry out of the mantissa is the next exponent.
  const int first = (exponent + f.bias - 1) << f.mantissa;
  return static_cast<std::uint8_t>(sign | (first + static_cast<int>(steps)));
}

float widened(std::uint8_t x, const Format8& f) {
  const int code = x & 0x7f, exponent = code >> f.mantissa;
  const int mantissa = code & ((1 << f.mantissa) - 1);
  const float sign = x & 0x80 ? -1.0f : 1.0f;
  if (code > f.overflow || code == f.nan) return std::copysign(NAN, sign);
  if (code == f.overflow) return sign * INFINITY;
  if (exponent == 0)
    return sign * std::ldexp(static_cast<float>(mantissa), 1 - f.bias - f.mantissa);
  return sign * std::ldexp(static_cast<float>(mantissa + (1 << f.mantissa)),
                           exponent - f.bias - f.mantissa);
}

}  // namespace

void to_float16_ref(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = float_to_half(x[i]);
}

void from_float16_ref(const std::uint16_t* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = half_to_float(x[i]);
}

void to_bfloat16_ref(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t sign = std::signbit(x[i]) ? 0x8000 : 0;
    y[i] = std::isnan(x[i]) ? sign | 0x7fc0 : float_to_bfloat(x[i]);
  }
}

void from_bfloat16_ref(const std::uint16_t* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = bfloat_to_float(x[i]);
}

void to_float8_e4m3_ref(const float* x, std::uint8_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = narrowed(x[i], kE4M3);
}

void from_float8_e4m3_ref(const std::uint8_t* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = widened(x[i], kE4M3);
}

void to_float8_e5m2_ref(const float* x, std::uint8_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = narrowed(x[i], kE5M2);
}

void from_float8_e5m2_ref(const std::uint8_t* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = widened(x[i], kE5M2);
}

}  // namespace tersor::quantization
