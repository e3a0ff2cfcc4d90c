// Compiled once per instruction set (cmake/instruction_sets.cmake).
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__AVX512F__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC bug 105593: its own headers
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace tersor::codebook {
namespace {

#define TERSOR_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

constexpr bool kInterleaved = false;

// Sixteen floats are one register: a permutation looks sixteen indices up, and ignores what stands
// above their four bits.
TERSOR_INLINE float dot(const LookupBlocks& a, int64_t o, int64_t table) {
  const __m512 values = _mm512_loadu_ps(a.tables + table * kLookupEntries);
  const uint8_t* codes = a.codes + o * a.depth / 2;
  __m512 sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = _mm512_setzero_ps();
  for (int64_t k = 0; k < a.depth; k += kLookupInputs, codes += 32) {
    for (int half = 0; half < 2; ++half) {
      const __m512i low = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(codes) + half));
      const __m512i high = _mm512_srli_epi32(low, 4);
      const float* const x = a.x + k + 16 * half;
      sums[half] =
          _mm512_fmadd_ps(_mm512_loadu_ps(x), _mm512_permutexvar_ps(low, values), sums[half]);
      sums[2 + half] = _mm512_fmadd_ps(_mm512_loadu_ps(x + 32), _mm512_permutexvar_ps(high, values),
                                       sums[2 + half]);
    }
  }
  float lanes[16];
  _mm512_storeu_ps(lanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

#elif defined(__AVX2__)

constexpr bool kInterleaved = true;

struct Planes {
  __m256i byte[4];
};

// 32 indices, a byte each: four shuffles give the bytes of 32 floats, eight more put them together.
TERSOR_INLINE void add(const Planes& p, __m256i codes, const float* x, __m256 sums[4]) {
  const __m256i b0 = _mm256_shuffle_epi8(p.byte[0], codes);
  const __m256i b1 = _mm256_shuffle_epi8(p.byte[1], codes);
  const __m256i b2 = _mm256_shuffle_epi8(p.byte[2], codes);
  const __m256i b3 = _mm256_shuffle_epi8(p.byte[3], codes);
  const __m256i low0 = _mm256_unpacklo_epi8(b0, b1), high0 = _mm256_unpacklo_epi8(b2, b3);
  const __m256i low1 = _mm256_unpackhi_epi8(b0, b1), high1 = _mm256_unpackhi_epi8(b2, b3);
  const __m256i w[4] = {_mm256_unpacklo_epi16(low0, high0), _mm256_unpackhi_epi16(low0, high0),
                        _mm256_unpacklo_epi16(low1, high1), _mm256_unpackhi_epi16(low1, high1)};
  for (int i = 0; i < 4; ++i) {
    sums[i] = _mm256_fmadd_ps(_mm256_loadu_ps(x + 8 * i), _mm256_castsi256_ps(w[i]), sums[i]);
  }
}

TERSOR_INLINE float dot(const LookupBlocks& a, int64_t o, int64_t table) {
  Planes p;
  for (int i = 0; i < 4; ++i) {
    const uint8_t* const plane = a.planes + (4 * table + i) * kLookupEntries;
    p.byte[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)plane));
  }
  const __m256i nibble = _mm256_set1_epi8(15);
  const uint8_t* codes = a.codes + o * a.depth / 2;
  // Four sums: eight would leave no registers for the planes, and the shuffles are what takes time.
  __m256 sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = _mm256_setzero_ps();
  for (int64_t k = 0; k < a.depth; k += kLookupInputs, codes += 32) {
    const __m256i both = _mm256_loadu_si256((const __m256i*)codes);
    add(p, _mm256_and_si256(both, nibble), a.x + k, sums);
    add(p, _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble), a.x + k + 32, sums);
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

#elif defined(__aarch64__)

constexpr bool kInterleaved = false;

TERSOR_INLINE void add(const uint8x16_t p[4], uint8x16_t codes, const float* x,
                       float32x4_t sums[4]) {
  const uint8x16_t b0 = vqtbl1q_u8(p[0], codes), b1 = vqtbl1q_u8(p[1], codes);
  const uint8x16_t b2 = vqtbl1q_u8(p[2], codes), b3 = vqtbl1q_u8(p[3], codes);
  const uint16x8_t low0 = vreinterpretq_u16_u8(vzip1q_u8(b0, b1));
  const uint16x8_t high0 = vreinterpretq_u16_u8(vzip1q_u8(b2, b3));
  const uint16x8_t low1 = vreinterpretq_u16_u8(vzip2q_u8(b0, b1));
  const uint16x8_t high1 = vreinterpretq_u16_u8(vzip2q_u8(b2, b3));
  const uint16x8_t w[4] = {vzip1q_u16(low0, high0), vzip2q_u16(low0, high0),
                           vzip1q_u16(low1, high1), vzip2q_u16(low1, high1)};
  for (int i = 0; i < 4; ++i) {
    sums[i] = vfmaq_f32(sums[i], vld1q_f32(x + 4 * i), vreinterpretq_f32_u16(w[i]));
  }
}

TERSOR_INLINE float dot(const LookupBlocks& a, int64_t o, int64_t table) {
  uint8x16_t p[4];
  for (int i = 0; i < 4; ++i) p[i] = vld1q_u8(a.planes + (4 * table + i) * kLookupEntries);
  const uint8_t* codes = a.codes + o * a.depth / 2;
  float32x4_t sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = vdupq_n_f32(0);
  for (int64_t k = 0; k < a.depth; k += kLookupInputs, codes += 32) {
    for (int half = 0; half < 2; ++half) {
      const uint8x16_t both = vld1q_u8(codes + 16 * half);
      add(p, vandq_u8(both, vdupq_n_u8(15)), a.x + k + 16 * half, sums);
      add(p, vshrq_n_u8(both, 4), a.x + k + 32 + 16 * half, sums + 4);
    }
  }
  return vaddvq_f32(vaddq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])),
                              vaddq_f32(vaddq_f32(sums[4], sums[5]), vaddq_f32(sums[6], sums[7]))));
}

#else

constexpr bool kInterleaved = false;

TERSOR_INLINE float dot(const LookupBlocks& a, int64_t o, int64_t table) {
  const float* const values = a.tables + table * kLookupEntries;
  const uint8_t* codes = a.codes + o * a.depth / 2;
  float sums[8] = {0};
  for (int64_t k = 0; k < a.depth; k += kLookupInputs, codes += 32) {
    const float* const x = a.x + k;
    for (int i = 0; i < 32; i += 4) {
      for (int j = 0; j < 4; ++j) {
        sums[j] += x[i + j] * values[codes[i + j] & 15];
        sums[4 + j] += x[32 + i + j] * values[codes[i + j] >> 4];
      }
    }
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

#endif

}  // namespace

void TERSOR_SIMD_NAME(arrange_lookup)(const float* x, int64_t n, float* arranged) noexcept {
  if (!kInterleaved) {
    __builtin_memcpy(arranged, x, (size_t)n * sizeof(float));
    return;
  }
  for (int64_t k = 0; k < n; k += 32) {
    for (int64_t v = 0; v < 4; ++v) {
      __builtin_memcpy(arranged + k + 8 * v, x + k + 4 * v, 4 * sizeof(float));
      __builtin_memcpy(arranged + k + 8 * v + 4, x + k + 16 + 4 * v, 4 * sizeof(float));
    }
  }
}

void TERSOR_SIMD_NAME(lookup_dense)(const LookupBlocks& a) noexcept {
  for (int64_t o = a.first; o < a.end; ++o) {
    float y = dot(a, o, o / a.group) + (a.bias ? a.bias[o] : 0.0f);
    y = y < a.low ? a.low : y;
    a.y[o] = y > a.high ? a.high : y;
  }
}

}  // namespace tersor::codebook
