// The loop of the int8 kernels over groups, strips of columns and entries, for *_simd.cpp and the
// files that wrap them; everything has internal linkage, since each copy is compiled with other
// flags. Product says what an entry does:
//   Product::Weights             four codes in the form of its multiply
//   Product::weights(p)          from the four bytes at p
//   Product::multiply(sum, w, x)  one vector of columns
#pragma once

#include <cstdint>

#include "tersor/sparse/spmm_int8.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__AVX512BW__)
#define TERSOR_SPARSE_BYTES 64
// GCC 12's own AVX-512 headers pass undefined vectors on purpose and warn about it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#elif defined(__AVX2__)
#define TERSOR_SPARSE_BYTES 32
#else
#define TERSOR_SPARSE_BYTES 16
#endif
#define TERSOR_INLINE static inline __attribute__((always_inline))

namespace tersor::sparse {
namespace {

constexpr int kLanes = TERSOR_SPARSE_BYTES / 4;
typedef int32_t I32 __attribute__((vector_size(TERSOR_SPARSE_BYTES)));
typedef uint32_t U32 __attribute__((vector_size(TERSOR_SPARSE_BYTES)));

// Sums in registers, beside them the weights of one entry and a product.
#if defined(__AVX512BW__) || defined(__aarch64__)
constexpr int kMostSums = 16;
#elif defined(__AVX2__)
constexpr int kMostSums = 12;
#else
constexpr int kMostSums = 10;
#endif

template <class T>
TERSOR_INLINE I32 load(const T* p) {
  I32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
TERSOR_INLINE void store(int32_t* p, I32 v) { __builtin_memcpy(p, &v, sizeof v); }
TERSOR_INLINE I32 splat(int32_t x) { return x - (I32){}; }
TERSOR_INLINE I32 add(I32 a, I32 b) { return (I32)((U32)a + (U32)b); }

// Vectors of columns from `column` on, for all groups.
template <class Product, int Together, int Vectors>
static void strip(const SpmmInt8Tile& t, int64_t column) noexcept {
  const char* x = static_cast<const char*>(t.x) + column * 4;
  const ptrdiff_t step = t.step;
  const auto* values = static_cast<const char*>(t.values);
  const uint16_t* index = t.index;
  const uint16_t* rows = t.rows;
  const bool whole = column + Vectors * kLanes <= t.columns;
  for (int64_t g = 0; g < t.groups; ++g, rows += Together) {
    I32 sum[Together][Vectors];
#pragma GCC unroll 8
    for (int i = 0; i < Together; ++i) {
      const int64_t row = rows[i];
      const bool none = Together > 1 && row == t.block_rows;
      const I32 bias = splat(t.bias && !none ? t.bias[row] : 0);
      const int32_t* from = t.sums + row * t.sums_stride + column;
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sum[i][v] = t.first ? bias : load(from + v * kLanes);
    }
    for (int64_t e = 0; e < t.counts[g]; ++e, values += 4 * Together, index += Together) {
#pragma GCC unroll 8
      for (int i = 0; i < Together; ++i) {
        const typename Product::Weights w = Product::weights(values + 4 * i);
        const char* from = x + index[i] * step;
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v)
          sum[i][v] = Product::multiply(sum[i][v], w, load(from + v * TERSOR_SPARSE_BYTES));
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Together; ++i) {
      const int64_t row = rows[i];
      if (t.last && Together > 1 && row == t.block_rows) continue;
      int32_t* to = (t.last ? t.y + row * t.y_stride : t.sums + row * t.sums_stride) + column;
      if (whole || !t.last) {
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) store(to + v * kLanes, sum[i][v]);
        continue;
      }
      int32_t some[Vectors * kLanes];
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) store(some + v * kLanes, sum[i][v]);
      const int64_t left = t.columns - column;
      for (int64_t n = 0; n < left && n < Vectors * kLanes; ++n) to[n] = some[n];
    }
  }
}

template <class Product, int Together, int Vectors>
static void strip_of(const SpmmInt8Tile& t, int64_t column, int64_t vectors) noexcept {
  if constexpr (Vectors == 1) {
    strip<Product, Together, 1>(t, column);
  } else {
    if (vectors == Vectors) return strip<Product, Together, Vectors>(t, column);
    strip_of<Product, Together, Vectors - 1>(t, column, vectors);
  }
}

// Columns in as few strips as the registers allow, of nearly equal width.
template <class Product, int Together>
static void strips(const SpmmInt8Tile& t) noexcept {
  constexpr int64_t kMost = kMostSums / Together;
  const int64_t vectors = (t.columns + kLanes - 1) / kLanes;
  const int64_t count = (vectors + kMost - 1) / kMost;
  for (int64_t i = 0, at = 0; i < count; ++i) {
    const int64_t wide = (vectors - at + count - i - 1) / (count - i);
    strip_of<Product, Together, kMost>(t, at * kLanes, wide);
    at += wide;
  }
}

template <class Product>
TERSOR_INLINE void multiply_tile(const SpmmInt8Tile& t) noexcept {
  switch (t.together) {
    case 1:
      return strips<Product, 1>(t);
    case 2:
      return strips<Product, 2>(t);
    case 4:
      return strips<Product, 4>(t);
    default:
      return strips<Product, 8>(t);
  }
}

}  // namespace
}  // namespace tersor::sparse
