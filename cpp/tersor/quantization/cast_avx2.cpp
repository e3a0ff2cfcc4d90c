#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

inline __m256i set(int v) { return _mm256_set1_epi32(v); }

// Eight codes with `mantissa` mantissa bits and exponent bias `bias`; `most` are the bits of the
// first magnitude whose code stands for all beyond. The loop of cast_simd.cpp in 14 instructions.
template <int mantissa, int bias>
inline __m256i codes_of(const float* x, int most) {
  constexpr int kShift = 23 - mantissa;
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  const __m256i magnitude = _mm256_and_si256(bits, set(0x7fffffff));
  const __m256i near = _mm256_min_epi32(magnitude, set(most));
  const __m256i last = _mm256_and_si256(_mm256_srli_epi32(near, kShift), set(1));
  constexpr int kHalf = (1 << (kShift - 1)) - 1 - ((127 - bias) << 23);
  const __m256i normal =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(near, set(kHalf)), last), kShift);
  const __m256i magic = set((127 + 24 - bias - mantissa) << 23);
  const __m256 sum = _mm256_add_ps(_mm256_castsi256_ps(magnitude), _mm256_castsi256_ps(magic));
  const __m256i small = _mm256_sub_epi32(_mm256_castps_si256(sum), magic);
  const __m256i is_small = _mm256_cmpgt_epi32(set((128 - bias) << 23), magnitude);
  const __m256i code = _mm256_blendv_epi8(normal, small, is_small);
  const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 24), set(0x80));
  return _mm256_or_si256(code, sign);
}

// 32 codes in the order of memory: the packs work within 128-bit halves.
inline void store(std::uint8_t* y, __m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm256_permutevar8x32_epi32(bytes, order));
}

// NaN is beyond infinity; 2 more than its code 0x7c.
inline __m256i e5m2_codes(const float* x) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  const __m256i magnitude = _mm256_and_si256(bits, set(0x7fffffff));
  const __m256i nan = _mm256_cmpgt_epi32(magnitude, set(0x7f800000));
  return _mm256_or_si256(codes_of<2, 15>(x, 0x47800000), _mm256_and_si256(nan, set(2)));
}

// Eight codes of 16 bits from float32.
inline __m256i bfloat16_codes(const float* x) {
  const __m256 v = _mm256_loadu_ps(x);
  const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
  const __m256i last = _mm256_and_si256(high, set(1));
  const __m256i near =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, set(0x7fff)), last), 16);
  const __m256i nan = _mm256_or_si256(_mm256_and_si256(high, set(0x8000)), set(0x7fc0));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(near, nan, is_nan);
}

// Sixteen float16 numbers times `factor`.
inline void widen(__m256i half, float factor, float* y) {
  const __m256 f = _mm256_set1_ps(factor);
  const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
  const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
  _mm256_storeu_ps(y, _mm256_mul_ps(low, f));
  _mm256_storeu_ps(y + 8, _mm256_mul_ps(high, f));
}

inline __m256i load_bytes(const std::uint8_t* x) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

// float16 with NaN (where code > most) made the quiet one of its sign.
inline __m256i with_nan(__m256i half, __m256i code, int most) {
  const __m256i sign = _mm256_and_si256(half, _mm256_set1_epi16(static_cast<short>(0x8000)));
  const __m256i nan = _mm256_or_si256(sign, _mm256_set1_epi16(0x7e00));
  const __m256i is_nan = _mm256_cmpgt_epi16(code, _mm256_set1_epi16(static_cast<short>(most)));
  return _mm256_blendv_epi8(half, nan, is_nan);
}

}  // namespace

void to_bfloat16_avx2(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i both = _mm256_packus_epi32(bfloat16_codes(x + i), bfloat16_codes(x + i + 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i),
                        _mm256_permute4x64_epi64(both, _MM_SHUFFLE(3, 1, 2, 0)));
  }
  to_bfloat16_simd_avx2(x + i, y + i, n - i);
}

void to_float8_e4m3_avx2(const float* x, std::uint8_t* y, std::size_t n) noexcept {
  constexpr int kMost = 0x43f00000;  // 480, the code 0x7f: NaN
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    store(y + i, codes_of<3, 7>(x + i, kMost), codes_of<3, 7>(x + i + 8, kMost),
          codes_of<3, 7>(x + i + 16, kMost), codes_of<3, 7>(x + i + 24, kMost));
  }
  to_float8_e4m3_simd_avx2(x + i, y + i, n - i);
}

void to_float8_e5m2_avx2(const float* x, std::uint8_t* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    store(y + i, e5m2_codes(x + i), e5m2_codes(x + i + 8), e5m2_codes(x + i + 16),
          e5m2_codes(x + i + 24));
  }
  to_float8_e5m2_simd_avx2(x + i, y + i, n - i);
}

// A code of e4m3 moved by 7 bits is a float16 of 1/256 of its value, subnormal numbers too; one of
// e5m2 is the upper byte of a float16.
void from_float8_e4m3_avx2(const std::uint8_t* x, float* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i bytes = load_bytes(x + i);
    const __m256i code = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_xor_si256(bytes, code), 8);
    const __m256i half = _mm256_or_si256(_mm256_slli_epi16(code, 7), sign);
    widen(with_nan(half, code, 0x7e), 256, y + i);
  }
  from_float8_e4m3_simd_avx2(x + i, y + i, n - i);
}

void from_float8_e5m2_avx2(const std::uint8_t* x, float* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i bytes = load_bytes(x + i);
    const __m256i code = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
    widen(with_nan(_mm256_slli_epi16(bytes, 8), code, 0x7c), 1, y + i);
  }
  from_float8_e5m2_simd_avx2(x + i, y + i, n - i);
}

// Every CPU with AVX2 has F16C, which rounds and treats NaN as cast.h says.
void to_float16_avx2(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::size_t k = i; k < i + 16; k += 8) {
      const __m128i half =
          _mm256_cvtps_ph(_mm256_loadu_ps(x + k), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + k), half);
    }
  }
  to_float16_simd_avx2(x + i, y + i, n - i);
}

void from_float16_avx2(const std::uint16_t* x, float* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::size_t k = i; k < i + 16; k += 8) {
      const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + k));
      _mm256_storeu_ps(y + k, _mm256_cvtph_ps(half));
    }
  }
  from_float16_simd_avx2(x + i, y + i, n - i);
}

}  // namespace tersor::quantization
