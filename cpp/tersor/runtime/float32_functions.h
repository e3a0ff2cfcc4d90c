// Elementary functions on one float, without branches or calls, so that loops over them vectorise.
// For the _simd.cpp files of this room only: everything has internal linkage, since each copy is
// compiled with other flags. Polynomials: minimax fits of this project (Lawson iteration), errors
// below 2^-27 relative.
#pragma once

#include <cstdint>

namespace tersor::runtime {
namespace {

// 1.5 * 2^23: adding it leaves round-half-even(v) in the low mantissa bits, |v| < 2^22.
constexpr float kRound = 12582912.0f;
constexpr int32_t kRoundBits = 0x4B400000;
constexpr float kInfinity = __builtin_huge_valf();

// a * b + c, rounded once where there is an instruction for it: half the operations of a
// polynomial.
inline float fma_of(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

inline float from_bits(int32_t bits) { return __builtin_bit_cast(float, bits); }
inline int32_t bits_of(float x) { return __builtin_bit_cast(int32_t, x); }
inline float power_of_two(int32_t n) { return from_bits((n + 127) << 23); }
inline float absolute(float x) { return from_bits(bits_of(x) & 0x7fffffff); }
inline float with_sign(float magnitude, float sign) {
  return from_bits((bits_of(magnitude) & 0x7fffffff) | (bits_of(sign) & INT32_MIN));
}
inline float clip(float x, float low, float high) {  // NaN stays
  const float v = x < low ? low : x;
  return v > high ? high : v;
}

// exp(x) = 2^n * (1 + p), |p| < 0.42. ln 2 = high + low, n * high is exact.
struct ExpParts {
  float p;
  int32_t n;
};
inline ExpParts exp_parts(float x) {
  const float shifted = fma_of(x, 1.44269504f, kRound);
  const float n = shifted - kRound;
  const float r = fma_of(n, 2.12194440e-4f, fma_of(n, -0.693359375f, x));
  float q = 0.001395049155689776f;
  q = fma_of(q, r, 0.008368889801204205f);
  q = fma_of(q, r, 0.04166620597243309f);
  q = fma_of(q, r, 0.166665181517601f);
  q = fma_of(q, r, 0.5f);
  return {fma_of(r * r, q, r), bits_of(shifted) - kRoundBits};
}

// Infinity beyond 88.72, 0 below -104. The power is applied in two steps to reach denormals and
// infinity.
inline float exp_of(float x) {
  const ExpParts e = exp_parts(clip(x, -104.0f, 89.0f));
  const int32_t half = e.n >> 1;
  return (1.0f + e.p) * power_of_two(half) * power_of_two(e.n - half);
}

// exp(x) for x <= 0; below -87 (2^-125.5) it is 0, which saves the second step.
inline float exp_of_negative(float x) {
  const ExpParts e = exp_parts(clip(x, -87.0f, 0.0f));
  const float power = (1.0f + e.p) * power_of_two(e.n);
  return x < -87.0f ? 0.0f : power;
}

// exp(x) - 1 for x <= 80.
inline float exp_minus_1(float x) {
  const ExpParts e = exp_parts(clip(x, -80.0f, 80.0f));
  const float scale = power_of_two(e.n);
  return fma_of(scale, e.p, scale - 1.0f);
}

inline float sigmoid_of(float x) {
  const float e = exp_of_negative(-absolute(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

// expm1(2|x|) / (expm1(2|x|) + 2); beyond 10 it is 1.
inline float tanh_of(float x) {
  const float m = exp_minus_1(2.0f * clip(absolute(x), 0.0f, 10.0f));
  return with_sign(m / (m + 2.0f), x);
}

// log(x) for x > 0 normal: x = 2^n m, m in [sqrt(1/2), sqrt 2).
inline float log_normal(float x) {
  // Modulo 2^32: the bits of a negative x may not wrap.
  const auto bits = static_cast<int32_t>(static_cast<uint32_t>(bits_of(x)) - 0x3F3504F3u);
  const int32_t n = bits >> 23;
  const float f = from_bits((bits & 0x007FFFFF) + 0x3F3504F3) - 1.0f;
  float q = 0.0691542848944664f;
  q = fma_of(q, f, -0.1178983673453331f);
  q = fma_of(q, f, 0.11872964352369308f);
  q = fma_of(q, f, -0.12384342402219772f);
  q = fma_of(q, f, 0.14218659698963165f);
  q = fma_of(q, f, -0.16669251024723053f);
  q = fma_of(q, f, 0.20002226531505585f);
  q = fma_of(q, f, -0.24999986588954926f);
  q = fma_of(q, f, 0.3333331048488617f);
  const float k = static_cast<float>(n);
  const float tail = f * f * fma_of(f, q, -0.5f);
  return fma_of(k, 0.693359375f, f + fma_of(k, -2.12194440e-4f, tail));
}

inline float log_of(float x) {
  const bool small = x < 1.17549435e-38f;
  const float scaled = small ? x * 16777216.0f : x;
  float v = log_normal(scaled);
  v = small ? v - 16.6355323f : v;  // 24 ln 2
  v = x == kInfinity ? x : v;
  v = x == 0 ? -kInfinity : v;
  return x < 0 || x != x ? from_bits(0x7fc00000) : v;
}

// log(1 + exp(-|x|)) + max(x, 0). With u = fl(1 + e), log(1 + e) = log(u) + (e - (u - 1)) / u to
// first order.
inline float softplus_of(float x) {
  const float e = exp_of_negative(-absolute(x));
  const float u = 1.0f + e;
  const float log_1p = log_normal(u) + (e - (u - 1.0f)) / u;
  return (x < 0 ? 0.0f : x) + log_1p;
}

inline float erf_of(float x) {
  const float t = clip(absolute(x), 0.0f, 4.0f);
  const float s = t * t;
  float p = 7.889122935011983e-05f;  // erf(x) / x - 1 in x^2
  p = fma_of(p, s, -0.0008020842215046287f);
  p = fma_of(p, s, 0.005189535673707724f);
  p = fma_of(p, s, -0.026854444295167923f);
  p = fma_of(p, s, 0.11283600330352783f);
  p = fma_of(p, s, -0.3761262595653534f);
  p = fma_of(p, s, 0.12837916612625122f);
  const float inner = fma_of(t, p, t);
  float q = 0.000185573982889764f;  // log(erfc(t))
  q = fma_of(q, t, -0.0029396070167422295f);
  q = fma_of(q, t, 0.02180531807243824f);
  q = fma_of(q, t, -0.10303736478090286f);
  q = fma_of(q, t, -0.6382256746292114f);
  q = fma_of(q, t, -1.1270400285720825f);
  q = fma_of(q, t, -0.00035371974809095263f);
  const float outer = 1.0f - exp_of_negative(q);
  return with_sign(t < 1.0f ? inner : outer, x) + (x - x);
}

}  // namespace
}  // namespace tersor::runtime
