#if !defined(__clang__)
// GCC 12's own headers pass undefined vectors on purpose and warn about it (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Sixteen elements; returns the bits of their mask.
inline __mmask16 rounded(const float* x, float* y, __m512 scale, __m512 zero, __m512 low,
                         __m512 high) {
  const __m512 one = _mm512_set1_ps(1);
  const __m512 steps = _mm512_div_ps(_mm512_loadu_ps(x), scale);
  const __mmask16 ordered = _mm512_cmp_ps_mask(steps, steps, _CMP_ORD_Q);
  const __m512 v = _mm512_add_ps(_mm512_maskz_mov_ps(ordered, steps), zero);
  const __m512 near =
      _mm512_min_ps(_mm512_max_ps(v, _mm512_sub_ps(low, one)), _mm512_add_ps(high, one));
  const __m512 r = _mm512_roundscale_ps(near, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 c = _mm512_min_ps(_mm512_max_ps(r, low), high);
  const __m512 code = _mm512_add_ps(c, _mm512_setzero_ps());  // -0 becomes +0
  _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_sub_ps(code, zero), scale));
  return _mm512_mask_cmp_ps_mask(ordered, c, r, _CMP_EQ_OQ);
}

}  // namespace

void fake_quantize_avx512(const float* x, float* y, std::uint8_t* mask, std::size_t n, float scale,
                          float zero, float low, float high) noexcept {
  const __m512 s = _mm512_set1_ps(scale), z = _mm512_set1_ps(zero);
  const __m512 l = _mm512_set1_ps(low), h = _mm512_set1_ps(high);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __mmask16 bits = rounded(x + i, y + i, s, z, l, h);
    if (mask) _store_mask16(reinterpret_cast<__mmask16*>(mask + i / 8), bits);
  }
  fake_quantize_simd_avx512(x + i, y + i, mask ? mask + i / 8 : nullptr, n - i, scale, zero, low,
                            high);
}

void fake_quantize_each_avx512(const float* x, float* y, std::uint8_t* mask, std::size_t n,
                               const float* scale, const float* zero, const float* low,
                               const float* high) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __mmask16 bits =
        rounded(x + i, y + i, _mm512_loadu_ps(scale + i), _mm512_loadu_ps(zero + i),
                _mm512_loadu_ps(low + i), _mm512_loadu_ps(high + i));
    if (mask) _store_mask16(reinterpret_cast<__mmask16*>(mask + i / 8), bits);
  }
  fake_quantize_each_simd_avx512(x + i, y + i, mask ? mask + i / 8 : nullptr, n - i, scale + i,
                                 zero + i, low + i, high + i);
}

void fake_quantize_backward_avx512(const float* dy, const std::uint8_t* mask, float* dx,
                                   std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __mmask16 bits =
        _load_mask16(reinterpret_cast<__mmask16*>(const_cast<std::uint8_t*>(mask + i / 8)));
    _mm512_storeu_ps(dx + i, _mm512_maskz_loadu_ps(bits, dy + i));
  }
  fake_quantize_backward_simd_avx512(dy + i, mask + i / 8, dx + i, n - i);
}

}  // namespace tersor::quantization
