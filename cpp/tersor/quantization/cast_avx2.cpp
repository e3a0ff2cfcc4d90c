#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

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
