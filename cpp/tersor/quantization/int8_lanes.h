// Vectors of the instruction set that the including file is compiled for: the few operations of the
// int8 kernels that differ between SSE2, AVX2, AVX-512 and NEON. For *_simd.cpp and the files that
// wrap them; everything has internal linkage, since each copy is compiled with other flags.
//
// A panel is 16 output channels: kParts vectors of kLanes int32.
#pragma once

#include <cstdint>

#include "tersor/quantization/conv_int8_kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// Vectors wider than a register are split by the compiler; everything is inlined, so no ABI is at
// stake.
#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__AVX512BW__) && defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 headers pass undefined vectors on purpose and warn about it (GCC bug
// 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#if defined(__AVX512BW__)
#define TERSOR_INT8_BYTES 64
#elif defined(__AVX2__)
#define TERSOR_INT8_BYTES 32
#else
#define TERSOR_INT8_BYTES 16
#endif

// Inlined always: accumulators in registers are the point of these kernels.
#define TERSOR_INLINE static inline __attribute__((always_inline))

namespace tersor::quantization {
namespace {

constexpr int kLanes = TERSOR_INT8_BYTES / 4;
constexpr int kParts = 16 / kLanes;
// Rows of a register tile: kTile x kParts accumulators leave registers for weights, a broadcast and
// a product (16 registers with AVX2: 12 + 2 + 1 + 1).
#if defined(__AVX512BW__)
constexpr int kTile = 12;
#elif defined(__AVX2__)
constexpr int kTile = 6;
#elif defined(__ARM_NEON)
constexpr int kTile = 4;
#else
constexpr int kTile = 2;
#endif

typedef int32_t I32 __attribute__((vector_size(TERSOR_INT8_BYTES)));
typedef uint32_t U32 __attribute__((vector_size(TERSOR_INT8_BYTES)));
typedef float F32 __attribute__((vector_size(TERSOR_INT8_BYTES)));

template <class V, class T>
TERSOR_INLINE V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
TERSOR_INLINE void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// Sums modulo 2^32.
TERSOR_INLINE I32 add(I32 a, I32 b) { return (I32)((U32)a + (U32)b); }
TERSOR_INLINE I32 sub(I32 a, I32 b) { return (I32)((U32)a - (U32)b); }
TERSOR_INLINE I32 times(I32 a, int32_t b) { return (I32)((U32)a * (uint32_t)b); }

TERSOR_INLINE I32 splat(int32_t x) { return x - (I32){}; }
TERSOR_INLINE F32 splat(float x) { return x - (F32){}; }

// The four bytes at p in every lane.
TERSOR_INLINE I32 broadcast_group(const char* p) {
  int32_t group;
  __builtin_memcpy(&group, p, sizeof group);
  return splat(group);
}

// acc[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1] over int16 halves.
TERSOR_INLINE I32 dot(I32 acc, I32 a, I32 b) {
#if defined(__AVX512VNNI__)
  return (I32)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
  return add(acc, (I32)_mm512_madd_epi16((__m512i)a, (__m512i)b));
#elif defined(__AVXVNNI__)
  return (I32)_mm256_dpwssd_avx_epi32((__m256i)acc, (__m256i)a, (__m256i)b);
#elif defined(__AVX2__)
  return add(acc, (I32)_mm256_madd_epi16((__m256i)a, (__m256i)b));
#elif defined(__SSE2__)
  return add(acc, (I32)_mm_madd_epi16((__m128i)a, (__m128i)b));
#elif defined(__ARM_NEON)
  const int16x8_t x = (int16x8_t)a, w = (int16x8_t)b;
  return add(acc,
             (I32)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(w)), vmull_high_s16(x, w)));
#else
  typedef int16_t I16 __attribute__((vector_size(TERSOR_INT8_BYTES)));
  const I16 x = (I16)a, w = (I16)b;
  for (int i = 0; i < kLanes; ++i) acc[i] += x[2 * i] * w[2 * i] + x[2 * i + 1] * w[2 * i + 1];
  return acc;
#endif
}

TERSOR_INLINE F32 to_float(I32 v) { return __builtin_convertvector(v, F32); }

TERSOR_INLINE F32 smaller(F32 a, F32 b) {
#if defined(__AVX512BW__)
  return (F32)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (F32)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (F32)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}
TERSOR_INLINE F32 larger(F32 a, F32 b) {
#if defined(__AVX512BW__)
  return (F32)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (F32)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (F32)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

// Round half to even. Below -2^31 the result is INT32_MIN or saturates; the caller bounds it above.
TERSOR_INLINE I32 round_to_int(F32 v) {
#if defined(__AVX512BW__)
  return (I32)_mm512_cvtps_epi32((__m512)v);
#elif defined(__AVX2__)
  return (I32)_mm256_cvtps_epi32((__m256)v);
#elif defined(__SSE2__)
  return (I32)_mm_cvtps_epi32((__m128)v);
#elif defined(__ARM_NEON)
  return (I32)vcvtnq_s32_f32((float32x4_t)v);
#else
  I32 r;
  for (int i = 0; i < kLanes; ++i) {
    r[i] = v[i] < -1e9f ? INT32_MIN : static_cast<int32_t>(__builtin_rintf(v[i]));
  }
  return r;
#endif
}

// Sixteen codes: max(v + zero_point, low), v <= 127 - zero_point, narrowed.
typedef int8_t Codes __attribute__((vector_size(16)));
TERSOR_INLINE Codes narrow(const I32 v[kParts], int32_t zero_point, int32_t low) {
#if defined(__AVX512BW__)
  const __m256i shifted = _mm256_adds_epi16(_mm512_cvtsepi32_epi16((__m512i)v[0]),
                                            _mm256_set1_epi16(static_cast<int16_t>(zero_point)));
  const __m256i bounded = _mm256_max_epi16(shifted, _mm256_set1_epi16(static_cast<int16_t>(low)));
  return (Codes)_mm256_cvtsepi16_epi8(bounded);
#elif defined(__AVX2__)
  // packs works inside 128-bit lanes: a0-3 b0-3 | a4-7 b4-7, put right by the last shuffle.
  const __m256i pairs = _mm256_packs_epi32((__m256i)v[0], (__m256i)v[1]);
  const __m256i shifted =
      _mm256_adds_epi16(pairs, _mm256_set1_epi16(static_cast<int16_t>(zero_point)));
  const __m256i bounded = _mm256_max_epi16(shifted, _mm256_set1_epi16(static_cast<int16_t>(low)));
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(bounded), _mm256_extracti128_si256(bounded, 1));
  return (Codes)_mm_shuffle_epi32(bytes, 0xD8);
#elif defined(__SSE2__)
  const __m128i zero = _mm_set1_epi16(static_cast<int16_t>(zero_point));
  const __m128i least = _mm_set1_epi16(static_cast<int16_t>(low));
  const __m128i a = _mm_adds_epi16(_mm_packs_epi32((__m128i)v[0], (__m128i)v[1]), zero);
  const __m128i b = _mm_adds_epi16(_mm_packs_epi32((__m128i)v[2], (__m128i)v[3]), zero);
  return (Codes)_mm_packs_epi16(_mm_max_epi16(a, least), _mm_max_epi16(b, least));
#elif defined(__ARM_NEON)
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(zero_point));
  const int16x8_t least = vdupq_n_s16(static_cast<int16_t>(low));
  const int16x8_t a = vcombine_s16(vqmovn_s32((int32x4_t)v[0]), vqmovn_s32((int32x4_t)v[1]));
  const int16x8_t b = vcombine_s16(vqmovn_s32((int32x4_t)v[2]), vqmovn_s32((int32x4_t)v[3]));
  return (Codes)vcombine_s8(vqmovn_s16(vmaxq_s16(vqaddq_s16(a, zero), least)),
                            vqmovn_s16(vmaxq_s16(vqaddq_s16(b, zero), least)));
#else
  Codes r;
  for (int i = 0; i < 16; ++i) {
    const int32_t x = v[i / kLanes][i % kLanes];
    const int32_t y = x < -1024 ? low : x + zero_point;
    r[i] = static_cast<int8_t>(y < low ? low : y);
  }
  return r;
#endif
}

// Sixteen int8 at p as int32.
TERSOR_INLINE void widen(Codes codes, I32 out[kParts]) {
#if defined(__AVX512BW__)
  out[0] = (I32)_mm512_cvtepi8_epi32((__m128i)codes);
#elif defined(__AVX2__)
  out[0] = (I32)_mm256_cvtepi8_epi32((__m128i)codes);
  out[1] = (I32)_mm256_cvtepi8_epi32(_mm_unpackhi_epi64((__m128i)codes, (__m128i)codes));
#elif defined(__SSE2__)
  // Each byte into the top of its lane, then an arithmetic shift down.
  const __m128i lo = _mm_unpacklo_epi8((__m128i)codes, (__m128i)codes);
  const __m128i hi = _mm_unpackhi_epi8((__m128i)codes, (__m128i)codes);
  out[0] = (I32)_mm_srai_epi32(_mm_unpacklo_epi16(lo, lo), 24);
  out[1] = (I32)_mm_srai_epi32(_mm_unpackhi_epi16(lo, lo), 24);
  out[2] = (I32)_mm_srai_epi32(_mm_unpacklo_epi16(hi, hi), 24);
  out[3] = (I32)_mm_srai_epi32(_mm_unpackhi_epi16(hi, hi), 24);
#else
  for (int i = 0; i < 16; ++i) out[i / kLanes][i % kLanes] = codes[i];
#endif
}

// What a kernel does with its sums; chosen once per call.
enum class Finish { codes, add, sums };

template <class Kernel>
TERSOR_INLINE void with_finish(const Int8Output& out, Kernel kernel) {
  if (out.accumulators) {
    kernel.template run<Finish::sums>();
  } else if (out.residual) {
    kernel.template run<Finish::add>();
  } else {
    kernel.template run<Finish::codes>();
  }
}

// Int8Epilogue in registers or on the stack: stores of int8 may alias anything else, so constants
// read through a pointer would be loaded and converted again for every pixel.
struct Finisher {
  F32 multiplier[kParts], rounding_offset[kParts];
  F32 low, high, scale_a, scale_b, add_high;
  I32 residual_zero_point;
  int32_t zero_point, least;  // of the codes that are written
};

TERSOR_INLINE Finisher make_finisher(const Int8Epilogue& e, bool add) {
  Finisher f;
  f.low = splat(static_cast<float>(e.low - e.zero_point));
  f.high = splat(static_cast<float>(e.high - e.zero_point));
  f.scale_a = splat(e.scale_a);
  f.scale_b = splat(e.scale_b);
  f.add_high = splat(static_cast<float>(e.add_high - e.add_zero_point));
  f.residual_zero_point = splat(e.residual_zero_point);
  f.zero_point = add ? e.add_zero_point : e.zero_point;
  f.least = add ? e.add_low : e.low;
  return f;
}

TERSOR_INLINE void set_panel(Finisher& f, const Int8Epilogue& e, int64_t channel) {
  for (int i = 0; i < kParts; ++i) {
    f.multiplier[i] = load<F32>(e.multiplier + channel + kLanes * i);
    f.rounding_offset[i] = load<F32>(e.rounding_offset + channel + kLanes * i);
  }
}

template <class T>
TERSOR_INLINE void copy_some(T* to, const T* from, int count) {
  if (count == 8) {  // 24 outputs are common
    __builtin_memcpy(to, from, 8 * sizeof(T));
  } else {
    for (int i = 0; i < count; ++i) to[i] = from[i];
  }
}

// What part i of a panel rounds to a code. The sign of the sum is that of its product, known
// earlier.
TERSOR_INLINE F32 scaled(I32 acc, const Finisher& f, int i) {
  const F32 offset = (F32)((acc & splat(INT32_MIN)) | (I32)f.rounding_offset[i]);
  return to_float(acc) * f.multiplier[i] + offset;
}

TERSOR_INLINE Codes codes_of(const I32 acc[kParts], const Finisher& f) {
  I32 v[kParts];
  for (int i = 0; i < kParts; ++i) v[i] = round_to_int(smaller(scaled(acc[i], f, i), f.high));
  return narrow(v, f.zero_point, f.least);
}

TERSOR_INLINE Codes added_codes_of(const I32 acc[kParts], const Finisher& f, Codes residual) {
  I32 v[kParts], b[kParts];
  widen(residual, b);
  for (int i = 0; i < kParts; ++i) {
    const F32 bounded = larger(smaller(scaled(acc[i], f, i), f.high), f.low);
    const F32 inner = to_float(round_to_int(bounded)) * f.scale_a;
    const F32 other = to_float(sub(b[i], f.residual_zero_point)) * f.scale_b;
    v[i] = round_to_int(smaller(inner + other, f.add_high));
  }
  return narrow(v, f.zero_point, f.least);
}

// Writes `count` of the 16 channels at out[at] (formula: int8_epilogue.h); kWhole: all of them.
template <Finish kFinish, bool kWhole>
TERSOR_INLINE void finish(const I32 acc[kParts], const Finisher& f, int count,
                          const Int8Output& out, int64_t at) {
  if constexpr (kFinish == Finish::sums) {
    int32_t some[16];
    for (int i = 0; i < kParts; ++i) store(some + i * kLanes, acc[i]);
    copy_some(out.accumulators + at, some, count);
  } else if constexpr (kWhole) {
    if constexpr (kFinish == Finish::add) {
      store(out.y + at, added_codes_of(acc, f, load<Codes>(out.residual + at)));
    } else {
      store(out.y + at, codes_of(acc, f));
    }
  } else {
    int8_t some[16] = {};
    if constexpr (kFinish == Finish::add) {
      copy_some(some, out.residual + at, count);
      store(some, added_codes_of(acc, f, load<Codes>(some)));
    } else {
      store(some, codes_of(acc, f));
    }
    copy_some(out.y + at, some, count);
  }
}

// Groups of four bytes and what multiplies them.
struct PairProduct {
  using Element = int16_t;
  TERSOR_INLINE I32 add(I32 acc, I32 x, I32 w) { return dot(acc, x, w); }
};

// acc[r][i] += products of the group at rows[r] + offset + 4 k and the panel's weights, k < groups,
// i < kUsed: the parts of the panel that have outputs.
template <class Product, int kRows, int kUsed = kParts>
TERSOR_INLINE void multiply_panel(I32 acc[kRows][kParts], const char* const rows[kRows],
                                  int64_t offset, int64_t groups, const char* weights) {
  for (int64_t k = 0; k < groups; ++k) {
    I32 w[kUsed];
#pragma GCC unroll 4
    for (int i = 0; i < kUsed; ++i) w[i] = load<I32>(weights + 64 * k + 4 * kLanes * i);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const I32 x = broadcast_group(rows[r] + offset + 4 * k);
#pragma GCC unroll 4
      for (int i = 0; i < kUsed; ++i) acc[r][i] = Product::add(acc[r][i], x, w[i]);
    }
  }
}

}  // namespace
}  // namespace tersor::quantization
