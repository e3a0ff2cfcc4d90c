#if !defined(__clang__)
// GCC 12's own headers pass undefined vectors on purpose and warn about it (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void to_float16_avx512(const float* x, std::uint16_t* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i half =
        _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), half);
  }
  to_float16_simd_avx512(x + i, y + i, n - i);
}

void from_float16_avx512(const std::uint16_t* x, float* y, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
    _mm512_storeu_ps(y + i, _mm512_cvtph_ps(half));
  }
  from_float16_simd_avx512(x + i, y + i, n - i);
}

}  // namespace tersor::quantization
