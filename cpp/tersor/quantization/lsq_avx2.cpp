#include <immintrin.h>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

struct Sums {
  __m256 by_scale, outside;
};

inline double total(__m256 v) {
  float lanes[8];
  _mm256_storeu_ps(lanes, v);
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

inline void add(const float* dy, const float* x, float* dx, __m256 scale, __m256 zero, __m256 low,
                __m256 high, Sums& sums) {
  const __m256 gradient = _mm256_loadu_ps(dy);
  const __m256 t = _mm256_add_ps(_mm256_div_ps(_mm256_loadu_ps(x), scale), zero);
  const __m256 inside =
      _mm256_and_ps(_mm256_cmp_ps(t, low, _CMP_GT_OQ), _mm256_cmp_ps(t, high, _CMP_LT_OQ));
  const __m256 clamped = _mm256_min_ps(_mm256_max_ps(t, low), high);
  const __m256 code = _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 ordered = _mm256_and_ps(gradient, _mm256_cmp_ps(t, t, _CMP_ORD_Q));
  const __m256 term = _mm256_sub_ps(code, _mm256_blendv_ps(zero, t, inside));
  sums.by_scale = _mm256_fmadd_ps(ordered, term, sums.by_scale);
  sums.outside = _mm256_add_ps(sums.outside, _mm256_andnot_ps(inside, ordered));
  _mm256_storeu_ps(dx, _mm256_and_ps(gradient, inside));
}

}  // namespace

void lsq_backward_avx2(const float* dy, const float* x, float* dx, std::size_t n, float scale,
                       float zero, float low, float high, double* sums) noexcept {
  constexpr std::size_t kBlock = 1024;  // floats are summed over a block, doubles over blocks
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
  const __m256 l = _mm256_set1_ps(low), h = _mm256_set1_ps(high);
  std::size_t i = 0;
  while (i + 16 <= n) {
    const std::size_t end = n - i < kBlock ? n : i + kBlock;
    Sums a = {_mm256_setzero_ps(), _mm256_setzero_ps()}, b = a;
    for (; i + 16 <= end; i += 16) {
      add(dy + i, x + i, dx + i, s, z, l, h, a);
      add(dy + i + 8, x + i + 8, dx + i + 8, s, z, l, h, b);
    }
    sums[0] += total(a.by_scale) + total(b.by_scale);
    sums[1] += total(a.outside) + total(b.outside);
  }
  lsq_backward_simd_avx2(dy + i, x + i, dx + i, n - i, scale, zero, low, high, sums);
}

}  // namespace tersor::quantization
