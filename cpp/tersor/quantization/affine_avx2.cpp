#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Measured on Zen 3 at 64 Ki elements: quantize 9.7 us against 11.2 us of the plain loop,
// dequantize 4.3 against 7.4. The true division stays: it hides behind the rest (the fma-corrected
// reciprocal of affine_simd.cpp takes 10.8 us).
struct Quantizer {
  __m256 scale, low, high;

  // Clamped one step beyond the codes, so that neither the conversion nor the packs overflow.
  Quantizer(float s, std::int32_t lo, std::int32_t hi)
      : scale(_mm256_set1_ps(s)),
        low(_mm256_set1_ps(static_cast<float>(lo - 1))),
        high(_mm256_set1_ps(static_cast<float>(hi + 1))) {}

  // Eight quotients, rounded half to even; NaN gives 0.
  __m256i operator()(const float* x) const {
    const __m256 v = _mm256_div_ps(_mm256_loadu_ps(x), scale);
    const __m256 ordered = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(ordered, low), high));
  }
};

}  // namespace

void quantize_affine_avx2(const float* x, std::int8_t* q, std::size_t n, float scale,
                          std::int32_t zero_point, std::int32_t lo, std::int32_t hi) noexcept {
  const Quantizer quantize(scale, lo - zero_point, hi - zero_point);
  // Unsigned codes are packed 128 lower, as the packs and comparisons of bytes are signed.
  const std::int32_t shift = hi > 127 ? 128 : 0;
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(shift));
  const __m256i zero = _mm256_set1_epi16(static_cast<short>(zero_point - shift));
  const __m256i low = _mm256_set1_epi8(static_cast<char>(lo - shift));
  const __m256i high = _mm256_set1_epi8(static_cast<char>(hi - shift));
  // The packs work within 128-bit halves; one permutation at the end puts groups of four in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i a = _mm256_packs_epi32(quantize(x + i), quantize(x + i + 8));
    const __m256i b = _mm256_packs_epi32(quantize(x + i + 16), quantize(x + i + 24));
    const __m256i codes = _mm256_packs_epi16(_mm256_add_epi16(a, zero), _mm256_add_epi16(b, zero));
    const __m256i clamped = _mm256_min_epi8(_mm256_max_epi8(codes, low), high);
    const __m256i bytes = _mm256_xor_si256(clamped, flip);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i),
                        _mm256_permutevar8x32_epi32(bytes, order));
  }
  quantize_affine_simd_avx2(x + i, q + i, n - i, scale, zero_point, lo, hi);
}

void dequantize_affine_avx2(const std::int8_t* q, float* y, std::size_t n, float scale,
                            std::int32_t zero_point, std::uint8_t flip) noexcept {
  const __m256 factor = _mm256_set1_ps(scale);
  const __m256i zero = _mm256_set1_epi32(zero_point - flip);
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (std::size_t k = i; k < i + 32; k += 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + k));
      const __m128i codes = _mm_xor_si128(bytes, flips);
      const __m256i steps = _mm256_sub_epi32(_mm256_cvtepi8_epi32(codes), zero);
      _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_cvtepi32_ps(steps), factor));
    }
  }
  dequantize_affine_simd_avx2(q + i, y + i, n - i, scale, zero_point, flip);
}

}  // namespace tersor::quantization
