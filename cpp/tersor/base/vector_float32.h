// The widest float vector of the instruction set that a file is compiled for, for _simd.cpp
// files only. Everything is static: two copies compiled with different flags must never be
// merged.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace tersor {
namespace {

#if defined(__AVX512F__)

using Vec = __m512;
constexpr int kLanes = 16;

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// The bound comes first: on NaN the instruction returns its second operand, so NaN stays NaN.
// The masked forms with all lanes: GCC 12 warns about the undefined operand inside the plain ones.
inline Vec clamp(Vec v, Vec low, Vec high) {
  return _mm512_maskz_min_ps(0xFFFF, high, _mm512_maskz_max_ps(0xFFFF, low, v));
}
inline Vec load_first(const float* p, int n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
inline void store_first(float* p, Vec v, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
}

#elif defined(__AVX2__)

using Vec = __m256;
constexpr int kLanes = 8;

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec clamp(Vec v, Vec low, Vec high) { return _mm256_min_ps(high, _mm256_max_ps(low, v)); }
alignas(64) constexpr int kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                             0,  0,  0,  0,  0,  0,  0,  0};
inline __m256i first_lanes(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - n));
}
inline Vec load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_first(float* p, Vec v, int n) { _mm256_maskstore_ps(p, first_lanes(n), v); }

#else

#if defined(__aarch64__)
using Vec = float32x4_t;
constexpr int kLanes = 4;
inline Vec load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, Vec v) { vst1q_f32(p, v); }
inline Vec broadcast(float x) { return vdupq_n_f32(x); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
#else
// Four lanes that the compiler maps to SSE2 or whatever the processor has.
typedef float Vec __attribute__((vector_size(16)));
typedef float UnalignedVec __attribute__((vector_size(16), aligned(4), may_alias));
constexpr int kLanes = 4;
inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
inline Vec broadcast(float x) { return Vec{x, x, x, x}; }
inline Vec fma(Vec a, Vec b, Vec c) {
  return a * b + c;
}  // two roundings: no such instruction here
#endif
inline Vec clamp(Vec v, Vec low, Vec high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}
inline Vec load_first(const float* p, int n) {
  Vec v = broadcast(0);
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
inline void store_first(float* p, Vec v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

#endif

// A whole vector when n is kLanes, else its first n.
inline Vec load_some(const float* p, int n) noexcept {
  return n == kLanes ? load(p) : load_first(p, n);
}
inline void store_some(float* p, Vec v, int n) noexcept {
  if (n == kLanes) {
    store(p, v);
  } else {
    store_first(p, v, n);
  }
}

}  // namespace
}  // namespace tersor
