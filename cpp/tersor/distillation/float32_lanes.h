// Vectors of floats of the instruction set that the including file is compiled for, with the two
// elementary functions that the losses need. For the *_simd.cpp files of this room only: everything
// has internal linkage, since each copy is compiled with other flags. Polynomials: minimax fits of
// this project (Lawson iteration).
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define TERSOR_LANE_BYTES 64
#elif defined(__AVX2__)
#define TERSOR_LANE_BYTES 32
#else
#define TERSOR_LANE_BYTES 16
#endif

#define TERSOR_INLINE static inline __attribute__((always_inline))

#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 headers pass undefined vectors on purpose and warn about it (GCC bug
// 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace tersor::distillation {
namespace {

constexpr size_t kLanes = TERSOR_LANE_BYTES / 4;
typedef float F32 __attribute__((vector_size(TERSOR_LANE_BYTES)));
typedef int32_t I32 __attribute__((vector_size(TERSOR_LANE_BYTES)));

TERSOR_INLINE F32 load(const float* p) {
  F32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
TERSOR_INLINE void store(float* p, F32 v) { __builtin_memcpy(p, &v, sizeof v); }
TERSOR_INLINE F32 splat(float x) { return x - (F32){}; }
TERSOR_INLINE I32 splat(int32_t x) { return x - (I32){}; }

// Past the caches, so that a gradient larger than them is written without being read first. p is
// aligned to a vector.
TERSOR_INLINE void stream(float* p, F32 v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)v);
#else
  store(p, v);
#endif
}
TERSOR_INLINE void end_streaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// a * b + c; rounded once where there is an instruction for it.
TERSOR_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// The larger; x if x is NaN (the order of operands in MAXPS).
TERSOR_INLINE F32 at_least(F32 bound, F32 x) {
#if defined(__AVX512F__)
  return (F32)_mm512_max_ps((__m512)bound, (__m512)x);
#elif defined(__AVX2__)
  return (F32)_mm256_max_ps((__m256)bound, (__m256)x);
#elif defined(__SSE2__)
  return (F32)_mm_max_ps((__m128)bound, (__m128)x);
#elif defined(__ARM_NEON)
  return (F32)vmaxq_f32((float32x4_t)bound, (float32x4_t)x);
#else
  const I32 below = bound > x;
  return (F32)((below & (I32)bound) | (~below & (I32)x));
#endif
}

TERSOR_INLINE F32 choose(I32 mask, F32 yes, F32 no) {
  return (F32)((mask & (I32)yes) | (~mask & (I32)no));
}

// x * c - n for the integer n nearest to x * c, |x * c| < 2^21: exact but for the last rounding.
TERSOR_INLINE F32 fraction_of(F32 x, F32 c, F32 n) {
#if defined(__FMA__) || defined(__ARM_NEON)
  return fma(x, c, -n);
#else
  // Products of 12-bit halves are exact.
  const I32 high_half = splat((int32_t)0xFFFFF000);
  const F32 xh = (F32)((I32)x & high_half), ch = (F32)((I32)c & high_half);
  const F32 xl = x - xh, cl = c - ch;
  return (((xh * ch - n) + xh * cl) + xl * ch) + xl * cl;
#endif
}

// 2^r for |r| <= 0.5: 2^-29 from the polynomial, one rounding.
TERSOR_INLINE F32 exp2_of_fraction(F32 r) {
  F32 q = splat(1.5353361959569156e-4f);
  q = fma(q, r, splat(1.3398873852565885e-3f));
  q = fma(q, r, splat(9.61843691766262e-3f));
  q = fma(q, r, splat(5.5503323674201965e-2f));
  q = fma(q, r, splat(0.24022647738456726f));
  q = fma(q, r, splat(0.6931471824645996f));
  return fma(q, r, splat(1.0f));
}

// 1.5 * 2^23: adding it leaves round-half-even(v) in the low mantissa bits, |v| < 2^22.
constexpr float kMagic = 12582912.0f;

// 2^(x * c - n0) with magic = kMagic - n0, n0 an integer. Subtracting an integer in the exponent
// instead of the largest logit before the multiplication leaves the range reduction exact: the only
// roundings are those of r and of the polynomial. x is clamped to `least`, where the result is
// about 2^-120; NaN stays.
TERSOR_INLINE F32 exp2_shifted(F32 x, F32 c, F32 magic, F32 least) {
  x = at_least(least, x);
  const F32 t = fma(x, c, magic);
  const F32 r = fraction_of(x, c, t - magic);
  return (F32)((I32)exp2_of_fraction(r) + ((I32)t << 23));
}

// log(x) for normal x > 0: 2^-27 from the polynomial, two roundings.
TERSOR_INLINE F32 log_of(F32 x) {
  // The exponent that puts the mantissa into [sqrt(1/2), sqrt(2)).
  const I32 e = ((I32)x - splat((int32_t)0x3F3504F3)) >> 23;
  const F32 f = (F32)((I32)x - (e << 23)) - splat(1.0f);
  F32 q = splat(-0.07621856033802032f);
  q = fma(q, f, splat(0.12904493510723114f));
  q = fma(q, f, splat(-0.13242985308170319f));
  q = fma(q, f, splat(0.14181813597679138f));
  q = fma(q, f, splat(-0.16609081625938416f));
  q = fma(q, f, splat(0.2000197470188141f));
  q = fma(q, f, splat(-0.25001582503318787f));
  q = fma(q, f, splat(0.33333325386047363f));
  q = fma(q, f, splat(-0.49999988079071045f));
  const F32 n = __builtin_convertvector(e, F32);
  return fma(n, splat(0.693359375f), fma(n, splat(-2.12194440e-4f), fma(f * f, q, f)));
}

TERSOR_INLINE float sum_lanes(F32 v) {
  float lane[kLanes];
  store(lane, v);
  for (size_t width = kLanes / 2; width; width /= 2) {
    for (size_t i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
TERSOR_INLINE float largest_lane(F32 v) {
  float lane[kLanes];
  store(lane, v);
  for (size_t width = kLanes / 2; width; width /= 2) {
    for (size_t i = 0; i < width; ++i)
      lane[i] = lane[i] < lane[i + width] ? lane[i + width] : lane[i];
  }
  return lane[0];
}

}  // namespace
}  // namespace tersor::distillation
