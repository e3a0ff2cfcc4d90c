// Compiled once per instruction set (cmake/instruction_sets.cmake). Few thresholds are
// compared in registers, more are searched in memory.
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"
#include "tersor/codebook/vector_lanes.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC bug 105593: its own headers
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace tersor::codebook {
namespace {

constexpr size_t kTogether = 4;  // vectors that share a broadcast threshold
constexpr size_t kBlock = 256;   // values; their codes and centroids stay in L1
constexpr int kFewCentroids = 16;

#define TERSOR_INLINE static inline __attribute__((always_inline))

TERSOR_INLINE F32 load(const float* p) {
  F32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
TERSOR_INLINE void store(void* p, F32 v) { __builtin_memcpy(p, &v, sizeof v); }
TERSOR_INLINE void store(void* p, I32 v) { __builtin_memcpy(p, &v, sizeof v); }
TERSOR_INLINE F32 splat(float x) { return x - (F32){}; }

TERSOR_INLINE F32 gather(const float* p, I32 index) {
#if defined(__AVX512F__)
  return (F32)_mm512_i32gather_ps((__m512i)index, p, 4);
#elif defined(__AVX2__)
  return (F32)_mm256_i32gather_ps(p, (__m256i)index, 4);
#else
  F32 v;
  for (size_t i = 0; i < kLanes; ++i) v[i] = p[index[i]];
  return v;
#endif
}

// Of the first 16 entries.
TERSOR_INLINE F32 look_up(const float* p, I32 index) {
#if defined(__AVX512F__)
  return (F32)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(p));
#elif defined(__AVX2__)
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), (__m256i)index);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 8), (__m256i)index);
  return (F32)_mm256_blendv_ps(low, high, (__m256)(index << 28));  // by bit 3
#else
  return gather(p, index);
#endif
}

template <bool kFew>
TERSOR_INLINE void finish(const AssignTable& t, F32 x, I32 code, int32_t* codes, float* centroids) {
  if (t.zero >= 0) {
    code -= code >= t.zero;  // a true lane is -1
    code = x == 0.0f ? (I32){} + t.zero : code;
  }
  store(codes, code);
  store(centroids, kFew ? look_up(t.centroids, code) : gather(t.centroids, code));
}

#if defined(__AVX2__)
// Entries of the first kLanes, or eight, by index.
TERSOR_INLINE F32 pick(F32 entries, I32 index) {
#if defined(__AVX512F__)
  return (F32)_mm512_permutexvar_ps((__m512i)index, (__m512)entries);
#else
  return (F32)_mm256_permutevar8x32_ps((__m256)entries, (__m256i)index);
#endif
}

// A binary search whose levels lie in a register each.
static void compare_few(const AssignTable& t, const float* x, int32_t* codes,
                        float* centroids) noexcept {
  constexpr int kLevels = 4;
  F32 level[kLevels] = {};
  for (int d = 0; d < kLevels; ++d) {
    const int step = 16 >> d;  // between the thresholds of a level
    for (int j = 0; j < 1 << d; ++j) level[d][j] = t.thresholds[step / 2 - 1 + j * step];
  }
  const F32 root = splat(t.thresholds[7]);
  for (size_t i = 0; i < kBlock; i += kTogether * kLanes) {
    F32 v[kTogether];
    I32 code[kTogether];
    for (size_t u = 0; u < kTogether; ++u) {
      v[u] = load(x + i + u * kLanes);
      code[u] = -(v[u] > root);  // a true lane is -1
    }
    for (int d = 1; d < kLevels; ++d) {
      for (size_t u = 0; u < kTogether; ++u) {
        const I32 above = v[u] > pick(level[d], code[u]);
        code[u] = code[u] + code[u] - above;
      }
    }
    for (size_t u = 0; u < kTogether; ++u) {
      finish<true>(t, v[u], code[u], codes + i + u * kLanes, centroids + i + u * kLanes);
    }
  }
}
#else
static void compare_few(const AssignTable& t, const float* x, int32_t* codes,
                        float* centroids) noexcept {
  for (size_t i = 0; i < kBlock; i += kTogether * kLanes) {
    F32 v[kTogether];
    I32 code[kTogether];
    for (size_t u = 0; u < kTogether; ++u) {
      v[u] = load(x + i + u * kLanes);
      code[u] = (I32){};
    }
    for (int j = 0; j < t.count; ++j) {
      const F32 threshold = splat(t.thresholds[j]);
      for (size_t u = 0; u < kTogether; ++u) code[u] -= v[u] > threshold;
    }
    for (size_t u = 0; u < kTogether; ++u) {
      finish<true>(t, v[u], code[u], codes + i + u * kLanes, centroids + i + u * kLanes);
    }
  }
}
#endif

static void search(const AssignTable& t, const float* x, int32_t* codes,
                   float* centroids) noexcept {
  for (size_t i = 0; i < kBlock; i += kTogether * kLanes) {
    F32 v[kTogether];
    I32 code[kTogether];
    for (size_t u = 0; u < kTogether; ++u) {
      v[u] = load(x + i + u * kLanes);
      code[u] = (I32){};
    }
    for (int step = 1 << t.steps >> 1; step > 0; step >>= 1) {
      for (size_t u = 0; u < kTogether; ++u) {
        const I32 above = v[u] > gather(t.thresholds + step - 1, code[u]);
        code[u] += above & step;
      }
    }
    for (size_t u = 0; u < kTogether; ++u) {
      finish<false>(t, v[u], code[u], codes + i + u * kLanes, centroids + i + u * kLanes);
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(assign_nearest)(const float* x, size_t n, const AssignTable& table,
                                      uint8_t* codes, double* error) noexcept {
  float padded[kBlock], centroids[kBlock];
  int32_t wide[kBlock];
  double sums[8] = {0};
  while (n > 0) {
    const size_t m = n < kBlock ? n : kBlock;
    const float* from = x;
    if (m < kBlock) {
      for (size_t i = 0; i < kBlock; ++i) padded[i] = i < m ? x[i] : 0.0f;
      from = padded;
    }
    if (table.count + 1 + (table.zero >= 0) <= kFewCentroids) {
      compare_few(table, from, wide, centroids);
    } else {
      search(table, from, wide, centroids);
    }
    for (size_t i = 0; i < m; ++i) codes[i] = (uint8_t)wide[i];
    for (size_t i = m; i < kBlock; ++i) centroids[i] = 0;
    for (size_t i = 0; i < kBlock; i += 8) {
      for (size_t lane = 0; lane < 8; ++lane) {
        const double d = (double)from[i + lane] - (double)centroids[i + lane];
        sums[lane] += d * d;
      }
    }
    x += m;
    codes += m;
    n -= m;
  }
  *error = 0;
  for (double sum : sums) *error += sum;
}

}  // namespace tersor::codebook
