// Compiled once per instruction set: TERSOR_SIMD_NAME(op) is the name.
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {
namespace {

// Rows x Vecs accumulators fill the registers but for one broadcast and the vectors of b:
// 12 x 2 of 32 (AVX-512), 6 x 2 of 16 (AVX2), 6 x 4 of 32 (NEON), 2 x 4 of 16 (SSE2).
#if defined(__AVX512F__)
using Vec = __m512;
constexpr size_t kLanes = 16, kVecs = 1, kBlock = 12;
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
using Vec = __m256;
constexpr size_t kLanes = 8, kVecs = 2, kBlock = 6;
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
using Vec = float32x4_t;
constexpr size_t kLanes = 4, kVecs = 4, kBlock = 6;
static inline Vec load(const float* p) { return vld1q_f32(p); }
static inline void store(float* p, Vec v) { vst1q_f32(p, v); }
static inline Vec broadcast(float x) { return vdupq_n_f32(x); }
static inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
#else
typedef float Vec __attribute__((vector_size(16)));
typedef float UnalignedVec __attribute__((vector_size(16), aligned(4), may_alias));
constexpr size_t kLanes = 4, kVecs = 4, kBlock = 2;
static inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
static inline Vec broadcast(float x) { return Vec{x, x, x, x}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }  // two roundings here
#endif

constexpr size_t kWide = kLanes * kVecs;  // columns of b that a block takes
static_assert(kWide <= kProductPad);

struct Problem {
  const float* a;
  size_t a_stride;
  const float* b;
  size_t b_stride;
  size_t rows;
  double* out;
  size_t out_stride;
};

// Rows of the output from i on, and the first `valid` of kWide columns from j on.
template <size_t Rows>
static inline void block(const Problem& p, size_t i, size_t j, size_t valid) noexcept {
  Vec sum[Rows][kVecs];
#pragma GCC unroll 16
  for (size_t y = 0; y < Rows; ++y) {
#pragma GCC unroll 4
    for (size_t x = 0; x < kVecs; ++x) sum[y][x] = broadcast(0);
  }
  const float* a = p.a + i;
  const float* b = p.b + j;
  for (size_t r = 0; r < p.rows; ++r, a += p.a_stride, b += p.b_stride) {
    Vec right[kVecs];
#pragma GCC unroll 4
    for (size_t x = 0; x < kVecs; ++x) right[x] = load(b + x * kLanes);
#pragma GCC unroll 16
    for (size_t y = 0; y < Rows; ++y) {
      const Vec left = broadcast(a[y]);
#pragma GCC unroll 4
      for (size_t x = 0; x < kVecs; ++x) sum[y][x] = fma(left, right[x], sum[y][x]);
    }
  }
  float line[kWide];
  for (size_t y = 0; y < Rows; ++y) {
    for (size_t x = 0; x < kVecs; ++x) store(line + x * kLanes, sum[y][x]);
    double* out = p.out + (i + y) * p.out_stride + j;
    for (size_t x = 0; x < valid; ++x) out[x] += static_cast<double>(line[x]);
  }
}

}  // namespace

void TERSOR_SIMD_NAME(add_products)(const float* a, size_t a_stride, const float* b,
                                    size_t b_stride, size_t rows, size_t m, size_t n, double* out,
                                    size_t out_stride) noexcept {
  const Problem p{a, a_stride, b, b_stride, rows, out, out_stride};
  for (size_t j = 0; j < n; j += kWide) {
    const size_t valid = n - j < kWide ? n - j : kWide;
    size_t i = 0;
    for (; i + kBlock <= m; i += kBlock) block<kBlock>(p, i, j, valid);
    for (; i + 2 <= m; i += 2) block<2>(p, i, j, valid);
    if (i < m) block<1>(p, i, j, valid);
  }
}

}  // namespace tersor::reconstruction
