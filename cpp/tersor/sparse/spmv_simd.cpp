// Compiled once per instruction set: TERSOR_SIMD_NAME(op) is the name, vector_float32.h the
// vectors.
//
// Sixteen rows side by side: no sum across a vector. Their inputs are put together from scalar
// loads, two a cycle; a gather instruction takes about twice as long on AMD and is
// microcoded on patched Intel processors.
#include "tersor/base/vector_float32.h"
#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

// Four indices in one load: scalar loads, three a cycle, would be the bound with one for each.
struct Four {
  uint64_t bits;
  explicit Four(const uint16_t* index) { __builtin_memcpy(&bits, index, sizeof bits); }
  size_t operator[](int i) const { return bits >> (16 * i) & 0xFFFF; }
};

inline Vec collect(const float* x, const uint16_t* index) noexcept {
#if defined(__AVX2__)
  const Four a(index), b(index + 4);
  const __m256 low =
      _mm256_setr_ps(x[a[0]], x[a[1]], x[a[2]], x[a[3]], x[b[0]], x[b[1]], x[b[2]], x[b[3]]);
#if defined(__AVX512F__)
  const Four c(index + 8), d(index + 12);
  const __m256 high =
      _mm256_setr_ps(x[c[0]], x[c[1]], x[c[2]], x[c[3]], x[d[0]], x[d[1]], x[d[2]], x[d[3]]);
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
#else
  return low;
#endif
#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  const Four a(index);
  return Vec{x[a[0]], x[a[1]], x[a[2]], x[a[3]]};
#else
  return Vec{x[index[0]], x[index[1]], x[index[2]], x[index[3]]};
#endif
}

}  // namespace

void TERSOR_SIMD_NAME(spmv_tile)(const SpmvTile& t) noexcept {
  constexpr int kVecs = kSpmvTogether / kLanes;
  const float* const x = t.x;
  const float* values = t.values;
  const uint16_t* index = t.index;
  for (int64_t g = 0; g < t.groups; ++g) {
    float* to = t.sums + g * kSpmvTogether;
    Vec sum[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) sum[v] = t.first ? broadcast(0) : load(to + v * kLanes);
    for (const float* const end = values + t.counts[g] * kSpmvTogether; values != end;
         values += kSpmvTogether, index += kSpmvTogether) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v)
        sum[v] = fma(load(values + v * kLanes), collect(x, index + v * kLanes), sum[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) store(to + v * kLanes, sum[v]);
  }
}

}  // namespace tersor::sparse
