#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Eight elements; returns the eight bits of their mask.
inline int rounded(const float* x, float* y, __m256 scale, __m256 zero, __m256 low, __m256 high) {
  const __m256 one = _mm256_set1_ps(1);
  const __m256 steps = _mm256_div_ps(_mm256_loadu_ps(x), scale);
  const __m256 ordered = _mm256_cmp_ps(steps, steps, _CMP_ORD_Q);
  const __m256 v = _mm256_add_ps(_mm256_and_ps(steps, ordered), zero);
  const __m256 near =
      _mm256_min_ps(_mm256_max_ps(v, _mm256_sub_ps(low, one)), _mm256_add_ps(high, one));
  const __m256 r = _mm256_round_ps(near, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 c = _mm256_min_ps(_mm256_max_ps(r, low), high);
  const __m256 code = _mm256_add_ps(c, _mm256_setzero_ps());  // -0 becomes +0
  _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_sub_ps(code, zero), scale));
  return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(c, r, _CMP_EQ_OQ), ordered));
}

}  // namespace

void fake_quantize_avx2(const float* x, float* y, std::uint8_t* mask, std::size_t n, float scale,
                        float zero, float low, float high) noexcept {
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
  const __m256 l = _mm256_set1_ps(low), h = _mm256_set1_ps(high);
  std::size_t i = 0;
  if (mask) {
    for (; i + 8 <= n; i += 8) {
      mask[i / 8] = static_cast<std::uint8_t>(rounded(x + i, y + i, s, z, l, h));
    }
  } else {
    for (; i + 8 <= n; i += 8) rounded(x + i, y + i, s, z, l, h);
  }
  fake_quantize_simd_avx2(x + i, y + i, mask ? mask + i / 8 : nullptr, n - i, scale, zero, low,
                          high);
}

void fake_quantize_each_avx2(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                             const float* scale, const float* zero, const float* low,
                             const float* high) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const int bits = rounded(x + i, y + i, _mm256_loadu_ps(scale + i), _mm256_loadu_ps(zero + i),
                             _mm256_loadu_ps(low + i), _mm256_loadu_ps(high + i));
    if (mask) mask[i / 8] = static_cast<std::uint8_t>(bits);
  }
  fake_quantize_each_simd_avx2(x + i, y + i, mask ? mask + i / 8 : nullptr, n - i, scale + i,
                               zero + i, low + i, high + i);
}

void fake_quantize_backward_avx2(const float* dy, const std::uint8_t* mask, float* dx,
                                 std::size_t n) noexcept {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(mask[i / 8]), bits);
    const __m256 inside = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bits));
    _mm256_storeu_ps(dx + i, _mm256_and_ps(_mm256_loadu_ps(dy + i), inside));
  }
  fake_quantize_backward_simd_avx2(dy + i, mask + i / 8, dx + i, n - i);
}

}  // namespace tersor::quantization
